"""Mixed precision on any device: float16 on CUDA, bfloat16 on CPUs that compute in it. Pure torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_map

from oamn_plugin.losses.common import full_precision


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere bfloat16 is emulated and slower than float32."""
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch before 2.9
    return bool(check and check())


def mixed_precision(device: torch.device | str, enabled: bool = True) -> AbstractContextManager[Any]:
    """The context that a training step computes its forward pass in.

    CUDA: autocast to float16 (a gradient scaler belongs to it). CPU: autocast to bfloat16, which needs no scaler, where
    the processor has it; else float32, so that one configuration serves every machine.
    """
    kind = torch.device(device).type
    if not enabled or (kind == "cpu" and not has_bfloat16()):
        return contextlib.nullcontext()
    return torch.autocast(kind, dtype=torch.bfloat16 if kind == "cpu" else torch.float16)


class _SplitConv2d(nn.Conv2d):
    """A strided depthwise convolution as one of stride 1 whose outputs are then skipped."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        full = F.conv2d(input, self.weight, self.bias, 1, self.padding, self.dilation, self.groups)
        return full[..., :: self.stride[0], :: self.stride[1]]


def split_strides(model: nn.Module) -> nn.Module:
    """Makes training of strided depthwise convolutions (MobileNet, EfficientNet) fast on a CPU; changes in place.

    Their backward pass has no fast kernel on x86: four such layers took 60 % of MobileNetV2's training step in
    bfloat16. Four times the multiplications at stride 1, which has one, are several times as fast. Values are those of
    the strided convolution up to rounding; weights, their names and evaluation stay as they are.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            conv: nn.Conv2d = module
            if 1 < conv.groups == conv.in_channels and max(conv.stride) > 1:
                conv.__class__ = _SplitConv2d
    return model


def keep_precise(module: nn.Module) -> nn.Module:
    """Has a module compute in float32 inside a context of mixed precision: heads, whose logits need more digits."""
    own = type(module)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return precisely(lambda *a, **k: own.forward(self, *a, **k), *args, **kwargs)

    # a class, not an attribute of the instance: a copy of the module must not call the original
    module.__class__ = type(own.__name__, (own,), {"forward": forward})
    return module


def precisely(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function with autocast switched off and half-precision tensors made float32, in containers too."""
    devices = {leaf.device.type for leaf in tree_flatten([args, kwargs])[0] if isinstance(leaf, Tensor)}
    with contextlib.ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        return function(*as_float(args), **as_float(kwargs))


def as_float(tree: Any) -> Any:
    """Tensors in half precision as float32, in tuples, lists and dicts too; all else as it is."""
    return tree_map(lambda leaf: full_precision(leaf) if isinstance(leaf, Tensor) else leaf, tree)
