"""Any network as an embedding model: images to unit descriptors and, where it can be cut, in two steps E1 and E2.

Retrieval speaks two words, ``encode`` and ``embed``. OAMN has them by itself; here are the two guises of every other
network: :class:`WholeModel`, which is run as it is, and :class:`SplitModel`, which is stopped at stride 16 and resumed
from there, so that nine occlusions of an image cost one E1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.modeling.split import MASK_STRIDE, cut_modules, evaluating, probe_image

Forward = Callable[[Tensor], Tensor]
"""Images (N, 3, H, W) to descriptors (N, D), by a network in evaluation mode."""
_TOLERANCE = 1e-4
DUMMY_SIZE = (64, 32)


class EmbeddingModel(Protocol):
    """What retrieval needs of a network; it must be in evaluation mode.

    Attributes:
        blanks_features: whether ``encode`` gives maps (N, C, h, w) on which a strip can be blanked; else it gives back
            the images, and occluded images must be encoded one by one.
    """

    blanks_features: bool

    def encode(self, images: Tensor) -> Tensor:
        """Features of images (N, 3, H, W)."""

    def embed(self, features: Tensor) -> Tensor:
        """Unit descriptors (N, D) of features."""


class WholeModel(nn.Module):
    """A network that cannot be cut, or need not be.

    Args:
        model: the network; only its parameters' device is read.
        forward: how it describes images.
        normalised: unit descriptors, which unification needs; False keeps their length, for plain Euclidean matching.
    """

    blanks_features = False

    def __init__(self, model: nn.Module, forward: Forward | None = None, normalised: bool = True) -> None:
        super().__init__()
        self.model, self.normalised = model, normalised
        self._describe: Forward = forward or model

    def encode(self, images: Tensor) -> Tensor:
        """The images themselves."""
        return images

    def embed(self, features: Tensor) -> Tensor:
        """Descriptors (N, D) of images, of unit length where that was asked for."""
        found = self._describe(features).float()
        return F.normalize(found) if self.normalised else found


class SplitModel(WholeModel):
    """A network that is stopped behind one of its modules (E1) and resumed from that module's output (E2).

    To resume, the network is run on one small image whose features are exchanged for the given ones at the border:
    head, pooling and whatever else its ``forward`` does come along without being known here.

    Args:
        model: the network.
        border: the module whose output is the map at stride 16; called once in a forward pass.
        forward: how the network describes images.
    """

    blanks_features = True

    def __init__(self, model: nn.Module, border: nn.Module, forward: Forward | None = None) -> None:
        super().__init__(model, forward)
        self._border = [border]  # in a list: it is a part of the model already and no second child

    def encode(self, images: Tensor) -> Tensor:
        """The map (N, C, h, w) at stride 16; the network's later layers are not run."""

        def stop(_: nn.Module, __: Any, output: Tensor) -> None:
            raise _Reached(output)

        with self._border[0].register_forward_hook(stop):
            try:
                self._describe(images)
            except _Reached as reached:
                return reached.features
        raise ValueError(f"the {type(self.model).__name__} did not run the module at its border")

    def embed(self, features: Tensor) -> Tensor:
        """Unit descriptors (N, D) of maps (N, C, h, w)."""
        with self._border[0].register_forward_hook(lambda _, __, ___: features):
            return super().embed(features.new_zeros(1, 3, *DUMMY_SIZE))


def embedding_model(model: nn.Module, image_size: tuple[int, int], forward: Forward | None = None) -> WholeModel:
    """A network behind the two words, cut at stride 16 where a dry run shows that nothing changes by that.

    Args:
        model: in evaluation mode. Its part ``backbone``, if it has one, else itself, must have a known layout
            (:data:`oamn_plugin.modeling.split.LAYOUTS`) to be cut, or end at stride 16.
        image_size: (height, width) in pixels.
        forward: how the network describes images; None: by calling it.
    """
    whole = WholeModel(model, forward)
    with evaluating(model):
        image = probe_image(model, image_size)
        border = _border(model, lambda: whole.embed(image), image_size)
        if border is None:
            return whole
        split = SplitModel(model, border, forward)
        try:
            features = split.encode(image)
            same = torch.allclose(split.embed(features), whole.embed(image), rtol=_TOLERANCE, atol=_TOLERANCE)
            return split if same and features.ndim == 4 else whole
        except (ValueError, RuntimeError, TypeError):  # it reads more of the image than the map: not to be cut
            return whole


def _border(model: nn.Module, run: Callable[[], Any], image_size: tuple[int, int]) -> nn.Module | None:
    """The module that ends E1: the last one that is called of the layers that a known layout puts there."""
    backbone = getattr(model, "backbone", model)
    try:
        last = list(cut_modules(backbone)[0].children())[-1]
    except (ValueError, RuntimeError, IndexError):
        last = backbone
    called: list[tuple[nn.Module, Any]] = []
    with ExitStack() as stack:
        for part in last.modules():
            stack.enter_context(part.register_forward_hook(lambda module, _, output: called.append((module, output))))
        run()
    if not called:
        return None
    module, output = called[-1]
    if sum(one is module for one, _ in called) > 1 or not isinstance(output, Tensor) or output.ndim != 4:
        return None
    return module if round(image_size[0] / output.shape[-2]) == MASK_STRIDE else None


class _Reached(Exception):  # noqa: N818 no error: how a forward pass is left early
    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features
