"""The meta-architecture ``OAMN``: the core module and its objective, fed with fastreid's batches."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.losses.cross_entroy_loss import log_accuracy
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from oamn_plugin.hosts.fastreid.config import oamn_options
from oamn_plugin.losses import OAMNObjective
from oamn_plugin.modeling import OAMN as OAMNCore


@META_ARCH_REGISTRY.register()
class OAMN(nn.Module):
    """Occlusion-aware mask network as fastreid trains and tests it.

    Training batches hold ``images`` (B * V, 3, H, W) in 0..255, ``targets`` (B,), ``types`` (B, V) and, with objects,
    ``covered`` (B, V, H, W); the result is the dict of weighted losses. In eval mode ``images`` (N, 3, H, W) give plain
    descriptors (N, D); the evaluator uses :meth:`normalise` and the ``encode``, ``attend``, ``apply_mask`` and
    ``describe`` of :attr:`oamn`.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        options = oamn_options(cfg)
        self.oamn = OAMNCore(
            build_backbone(cfg),
            num_classes=cfg.MODEL.HEADS.NUM_CLASSES,
            input_size=tuple(cfg.INPUT.SIZE_TRAIN),
            preset=cfg.MODEL.OAMN.PRESET,
            **asdict(options),
        )
        self.objective = OAMNObjective(options)
        self.register_buffer("pixel_mean", torch.tensor(cfg.MODEL.PIXEL_MEAN).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.MODEL.PIXEL_STD).view(1, -1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.pixel_mean.device  # type: ignore[return-value]

    def normalise(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images in 0..255, any dtype, to normalised float; the input stays as it is."""
        return (images.to(self.device).float() - self.pixel_mean) / self.pixel_std  # type: ignore[operator]

    def forward(self, batched_inputs: dict[str, Any]) -> dict[str, Tensor] | Tensor:
        """Losses in training, descriptors otherwise; see the class."""
        images = self.normalise(batched_inputs["images"])
        if not self.training:
            return self.oamn(images)
        targets, types = batched_inputs["targets"].to(self.device), batched_inputs["types"].to(self.device)
        output = self.oamn(images)
        log_accuracy(output.class_logits.detach(), targets.repeat_interleave(types.shape[1]))
        return self.objective(output, targets, types, batched_inputs.get("covered"))
