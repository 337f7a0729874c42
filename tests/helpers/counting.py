"""Counts what an evaluation describes."""

from __future__ import annotations

from typing import Any

import pytest

from oamn_plugin.hosts.shared import evaluation


def described_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the size of every batch of gallery images that is described from now on."""
    sizes: list[int] = []
    describe = evaluation.describe_gallery

    def counting(model: Any, images: Any, *rest: Any) -> Any:
        sizes.append(len(images))
        return describe(model, images, *rest)

    monkeypatch.setattr(evaluation, "describe_gallery", counting)
    return sizes
