"""The occlusion augmentation under a name among the host's transforms, for any of its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torchvision.transforms as T

from oamn_plugin.augmentation import RandomOcclusion
from oamn_plugin.hosts.torchreid.compat import host_module
from oamn_plugin.hosts.torchreid.settings import SETTINGS

TRANSFORMS: dict[str, Callable[[], Any]] = {
    "random_occlusion": lambda: RandomOcclusion(SETTINGS.occlusion_probability, return_type=False),
}
"""Name to a builder of the step, which takes and gives a normalised tensor (3, H, W)."""
HOST_TRANSFORMS = ("random_flip", "random_crop", "random_patch", "color_jitter", "random_erase")
"""The host's own names; it takes any other word in silence and does nothing for it."""


def register_transforms() -> None:
    """Lets ``transforms=[...]`` of the host's data managers name the steps of :data:`TRANSFORMS`; once is enough.

    The host's names are a chain of ``if`` without a registry, so the builder that its data managers hold is wrapped.
    """
    managers = host_module("data.datamanager")
    if getattr(managers.build_transforms, "wraps_host", None) is None:
        managers.build_transforms = _with_ours(managers.build_transforms)  # type: ignore[attr-defined]


def _with_ours(host: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    def build_transforms(
        height: int, width: int, transforms: str | Sequence[str] | None = "random_flip", **kwargs: Any
    ) -> tuple[Any, Any]:
        names = [transforms] if isinstance(transforms, str) else list(transforms or [])
        ours = [name.lower() for name in names if name.lower() in TRANSFORMS]
        theirs = [name for name in names if name.lower() not in TRANSFORMS]
        train, test = host(height, width, transforms=theirs, **kwargs)
        for name in ours:
            print(f"+ {name.replace('_', ' ')}")
        return (T.Compose([*train.transforms, *(TRANSFORMS[name]() for name in ours)]) if ours else train), test

    build_transforms.wraps_host = host  # type: ignore[attr-defined]
    return build_transforms
