"""Mixed precision for the host's engines, which have none: inside the model; losses stay in float32."""

from __future__ import annotations

from typing import Any

from torch import nn

from oamn_plugin.modeling.precision import as_float, keep_precise, mixed_precision, split_strides


def train_in_bfloat16(model: nn.Module) -> nn.Module:
    """Makes a model train in bfloat16 on a CPU that supports it; changes it in place.

    Linear layers and their batch norms stay in float32, and so does what the losses get: three digits are too few for
    logits and distances. Evaluation, weights and their names are as they were.
    """
    split_strides(model)
    for module in list(model.modules()):
        if isinstance(module, (nn.Linear, nn.BatchNorm1d)):
            keep_precise(module)
    own = type(model)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with mixed_precision("cpu", enabled=self.training):
            return as_float(own.forward(self, *args, **kwargs))

    model.__class__ = type(own.__name__, (own,), {"forward": forward})
    return model
