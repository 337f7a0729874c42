"""The split of a vision transformer: the mask weighs the patch tokens behind the middle block.

Tokens that stand for no patch (class token, registers) take part up to the split and end there: an unmasked class token
would carry the occluder past the mask. So the descriptor is pooled from patch tokens, also where the whole network
reads its class token.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn


def is_vision_transformer(backbone: nn.Module) -> bool:
    """Whether a module has the layout of a plain ViT: patch embedding, position embedding, a list of blocks, norm."""
    named = all(hasattr(backbone, name) for name in ("patch_embed", "blocks", "norm"))
    return named and isinstance(getattr(backbone, "pos_embed", None), Tensor)


def split_vision_transformer(backbone: Any, image: Tensor) -> tuple[nn.Module, nn.Module, int, int]:
    """Returns (low, high, channels, channels) of a plain ViT, split behind its middle block.

    Args:
        backbone: in eval mode, see :func:`is_vision_transformer`.
        image: (1, 3, H, W) for a dry run: both halves must compute what the whole does.

    Raises:
        ValueError: camera embeddings are in use, which images alone cannot feed, or the network is no plain ViT (rotary
            positions, a convolutional stem, class attention).
    """
    if getattr(backbone, "cam_num", 0) > 0:
        raise ValueError("cannot split a vision transformer with camera embeddings: build it without cameras")
    channels = int(backbone.pos_embed.shape[-1])
    try:
        low, high = PatchEncoder(backbone), TokenEncoder(backbone)
        faithful = _faithful(backbone, low, high, image)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        faithful = False  # other layers than those of a plain ViT fail in whatever way
    if not faithful:
        raise ValueError(
            f"cannot split this {type(backbone).__name__}: it is no plain vision transformer, so the two halves would "
            "compute something else than the whole; hand over a plain one, such as timm's vit_* and deit_*"
        )
    return low, high, channels, channels


def _faithful(backbone: Any, low: PatchEncoder, high: TokenEncoder, image: Tensor) -> bool:
    """Whether the tokens behind the middle block and behind the norm are those of the whole network."""
    seen: list[Tensor] = []
    parts = (backbone.blocks[len(low.blocks) - 1], backbone.norm)
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(part.register_forward_hook(lambda *call: seen.append(call[-1])))
        backbone(image)
    middle, last = seen
    tokens = low(image).flatten(2).transpose(1, 2)
    # the second half is compared with its class token, which low drops
    pairs = ((middle[:, -tokens.shape[1] :], tokens), (last, high.norm(high.blocks(middle))))
    return all(torch.allclose(whole, part, rtol=1e-3, atol=1e-4) for whole, part in pairs)


class PatchEncoder(nn.Module):
    """Images (N, 3, H, W) to the patch tokens behind the first half of the blocks, as a map (N, C, h, w)."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        blocks = list(backbone.blocks)
        self.patch_embed = backbone.patch_embed
        self.cls_token = getattr(backbone, "cls_token", None)
        self.reg_token = getattr(backbone, "reg_token", None)
        self.pos_embed = backbone.pos_embed
        self.pos_drop = backbone.pos_drop
        self.norm_pre = getattr(backbone, "norm_pre", nn.Identity())
        self.blocks = nn.Sequential(*blocks[: (len(blocks) + 1) // 2])
        self.no_embed_class = bool(getattr(backbone, "no_embed_class", False))

    def forward(self, images: Tensor) -> Tensor:
        """Returns patch tokens (N, C, h, w) of images (N, 3, H, W)."""
        patches = self.patch_embed.proj(images)
        size = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = self.blocks(self.norm_pre(self.pos_drop(self._placed(tokens))))
        return tokens[:, -size[0] * size[1] :].transpose(1, 2).unflatten(2, size)

    def _placed(self, tokens: Tensor) -> Tensor:
        prefix = [token.expand(len(tokens), -1, -1) for token in (self.cls_token, self.reg_token) if token is not None]
        if self.no_embed_class:
            return torch.cat([*prefix, tokens + self.pos_embed], 1)
        return torch.cat([*prefix, tokens], 1) + self.pos_embed


class TokenEncoder(nn.Module):
    """Patch tokens (N, C, h, w) through the second half of the blocks and the norm, (N, C, h, w) again."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        blocks = list(backbone.blocks)
        self.blocks = nn.Sequential(*blocks[(len(blocks) + 1) // 2 :])
        self.norm = backbone.norm

    def forward(self, features: Tensor) -> Tensor:
        """Returns the encoded map (N, C, h, w)."""
        tokens = self.norm(self.blocks(features.flatten(2).transpose(1, 2)))
        return tokens.transpose(1, 2).unflatten(2, features.shape[-2:])
