"""What the losses share: precision, and reading groups and areas off occlusion types."""

from __future__ import annotations

import torch
from torch import Tensor

from oamn_plugin.occlusion import AREAS, OCCLUSION_TYPES, SIDES

NUM_SIDES = len(SIDES)


def full_precision(tensor: Tensor) -> Tensor:
    """Half precision to float32; float32 and float64 as they are. Sums of squares overflow in float16."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def groups_of(types: Tensor) -> Tensor:
    """Group of each view, of the shape of ``types``: 0 clean, 1 left, 2 right, 3 bottom, 4 top.

    >>> groups_of(torch.tensor([0, 1, 4, 5, 8]))
    tensor([0, 1, 4, 1, 4])
    """
    return torch.where(types == 0, 0, (types - 1) % NUM_SIDES + 1)


def is_half(types: Tensor) -> Tensor:
    """Which views are occluded over a half: bool, of the shape of ``types``."""
    first = 1 + AREAS.index("half") * NUM_SIDES
    return (types >= first) & (types < first + NUM_SIDES)


def side_scale(num_views: int) -> float:
    """Factor on a sum over a batch's occluded views that makes it the sum over all four sides, in expectation.

    1 for five views; 2 for three, where each image shows one of the two axes at random.
    """
    return NUM_SIDES / (num_views - 1)


def check_views(types: Tensor, **tensors: Tensor) -> None:
    """Raises ValueError unless ``types`` is (B, V), V = 1, 3 or 5, and every named tensor begins with that shape."""
    if types.ndim != 2 or types.shape[1] not in (1, 3, 5):
        raise ValueError(
            "types must be (B, V) with V = 5 (clean and all sides), V = 3 (clean and one opposing pair) or V = 1, "
            f"indices in {len(OCCLUSION_TYPES)} occlusion types; got {tuple(types.shape)}"
        )
    for name, tensor in tensors.items():
        if tensor.shape[:2] != types.shape:
            raise ValueError(f"{name} must begin with {tuple(types.shape)} like types, got {tuple(tensor.shape)}")
