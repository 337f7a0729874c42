"""OAMN, the occlusion-aware mask network: two encoders, a mask between them and a scorer beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.losses.circle import SCALE
from oamn_plugin.losses.common import full_precision
from oamn_plugin.modeling.backbones import build_backbone
from oamn_plugin.modeling.mask import SpatialRelationMask
from oamn_plugin.modeling.precision import precisely
from oamn_plugin.modeling.split import evaluating, probe_image, split_backbone
from oamn_plugin.occlusion import SIDES
from oamn_plugin.presets import preset as make_options


class OcclusionScorer(nn.Module):
    """``Linear(BatchNorm1d(mean over positions of f * m))``: one logit per side.

    Both inputs are detached: the score loss teaches this batch norm and this linear layer and nothing below them.
    OAMN (ICCV 2021), section 3.3.

    Args:
        channels: channels C of the features.
        positions: h * w to read the mask's own values too, which say where it found an occluder; 0, the published
            scorer, reads the masked features alone.

    Shapes:
        features (N, C, h, w) and mask (N, 1, h, w) to logits (N, 4), order left, right, bottom, top.
    """

    def __init__(self, channels: int, positions: int = 0) -> None:
        super().__init__()
        self.positions = positions
        self.bn = nn.BatchNorm1d(channels + positions)
        self.fc = nn.Linear(channels + positions, len(SIDES))
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Returns the logits (N, 4) of masked features."""
        mask = mask.detach()
        evidence = (features.detach() * mask).mean((2, 3))
        if self.positions:
            evidence = torch.cat([evidence, mask.flatten(1)], 1)
        return self.fc(self.bn(evidence))


class CosineClassifier(nn.Linear):
    """Logits that are the circle loss's ``SCALE`` times the cosine of an embedding and a class weight; no bias.

    Args:
        in_features: size of an embedding.
        num_classes: identities.

    Shapes:
        (N, in_features) to (N, num_classes).
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Returns the scaled cosines (N, num_classes)."""
        return SCALE * F.linear(F.normalize(input), F.normalize(self.weight))


class OAMNOutput(NamedTuple):
    """What a training step computes of N = B * V views."""

    features: Tensor
    """f, the output of E1: (N, C, h, w)."""
    mask: Tensor
    """m in (0, 1): (N, 1, h, w); ones without a mask module."""
    score_logits: Tensor
    """Scorer logits, order left, right, bottom, top: (N, 4); zeros without a mask module."""
    pooled: Tensor
    """h, the pooled output of E2, which the triplet loss takes: (N, D)."""
    class_logits: Tensor | None
    """Identity logits (N, num_classes); None without a classifier."""


class OAMN(nn.Module):
    """Occlusion-aware mask network, built without any configuration object or toolbox.

    ``x -> E1 -> f -> f * m -> E2 -> pool -> h -> feat_bn -> descriptor``; the mask module reads ``f.detach()`` and the
    scorer ``(f * m).detach()``, so that gradients go where the method sends them. Chen et al., ICCV 2021, section 3.

    Args:
        backbone: a name for :func:`oamn_plugin.modeling.backbones.build_backbone`, or a built network that
            :func:`oamn_plugin.modeling.split.split_backbone` can split.
        num_classes: training identities; 0 builds no classifier.
        input_size: image (height, width) in pixels. The mask module is bound to it.
        preset: reading of the method, see :mod:`oamn_plugin.presets`.
        last_stride: stride of the last stage of a ResNet built by name.
        **options: fields of :class:`oamn_plugin.presets.Options` that differ from the preset.

    Attributes:
        options: the resolved :class:`oamn_plugin.presets.Options`.
        encoder_low, encoder_high: E1 and E2.
        mask_channels, feature_dim: their channels (1024 and 2048 with ResNet-50).
        mask, scorer: the mask module and the scorer, None if ``options.mask_module`` is False.
        pool, feat_bn, classifier: the head; ``classifier`` is None without classes.

    Shapes:
        images (N, 3, H, W), normalised float. Training: :class:`OAMNOutput`. Evaluation: unit descriptors (N, D), every
        image under its own mask.

    Raises:
        ValueError: unknown name or option, or a backbone that cannot be split.

    >>> model = OAMN("resnet18", input_size=(64, 32)).eval()
    >>> model(torch.zeros(2, 3, 64, 32)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self,
        backbone: str | nn.Module = "resnet50",
        num_classes: int = 0,
        input_size: tuple[int, int] = (256, 128),
        preset: str = "paper",
        *,
        last_stride: int = 2,
        **options: Any,
    ) -> None:
        super().__init__()
        self.options = make_options(preset, **options)
        self.input_size = (int(input_size[0]), int(input_size[1]))
        if isinstance(backbone, str):
            backbone = build_backbone(backbone, last_stride, self.input_size)
        self.encoder_low, self.encoder_high, self.mask_channels, self.feature_dim = split_backbone(backbone)
        self.mask: SpatialRelationMask | None = None
        self.scorer: OcclusionScorer | None = None
        if self.options.mask_module:
            with evaluating(self.encoder_low):  # a dry run tells the size of f
                height, width = self.encoder_low(probe_image(self.encoder_low, self.input_size)).shape[-2:]
            self.mask = SpatialRelationMask(self.mask_channels, (height, width), self.options.wide_mask)
            self.scorer = OcclusionScorer(self.mask_channels, height * width if self.options.scorer_reads_mask else 0)
        self._build_head(num_classes)

    def _build_head(self, num_classes: int) -> None:
        neck = self.options.head == "bnneck"
        self.pool = nn.AdaptiveMaxPool2d(1) if self.options.pooling == "max" else nn.AdaptiveAvgPool2d(1)
        self.feat_bn = nn.BatchNorm1d(self.feature_dim)
        self.feat_bn.bias.requires_grad_(not neck)
        self.activation = nn.Identity() if neck else nn.Sequential(nn.ReLU(), nn.Dropout(self.options.dropout))
        self.classifier: nn.Linear | None = None
        if num_classes:
            if self.options.classifier == "circle":
                self.classifier = CosineClassifier(self.feature_dim, num_classes)
            else:
                self.classifier = nn.Linear(self.feature_dim, num_classes, bias=not neck)
            nn.init.normal_(self.classifier.weight, std=0.001)
            if self.classifier.bias is not None:
                nn.init.zeros_(self.classifier.bias)

    def encode(self, images: Tensor) -> Tensor:
        """Returns the features f (N, C, h, w) of normalised images (N, 3, H, W)."""
        return self.encoder_low(images)

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mask (N, 1, h, w) and scorer logits (N, 4) of features (N, C, h, w).

        Without a mask module the mask is 1 everywhere and the logits are 0: no evidence for any side.
        """
        features = features.detach()
        if self.mask is None or self.scorer is None:
            return torch.ones_like(features[:, :1]), features.new_zeros(len(features), len(SIDES))
        mask = self.mask(features)
        return mask, self.scorer(features, mask)

    def apply_mask(self, features: Tensor, mask: Tensor) -> Tensor:
        """Returns g = f * (mask_floor + m) (N, C, h, w); f itself without a mask module."""
        if self.mask is None:
            return features
        return features * (self.options.mask_floor + mask)

    blanks_features = True

    def embed(self, features: Tensor) -> Tensor:
        """Returns unit descriptors (N, D) of features (N, C, h, w) under their own mask. Meant for eval mode."""
        return self.describe(self.apply_mask(features, self.attend(features)[0]))

    def pooled(self, masked_features: Tensor) -> Tensor:
        """Returns h (N, D), the pooled output of E2, of masked features (N, C, h, w)."""
        return self.pool(self.encoder_high(masked_features)).flatten(1)

    def describe(self, masked_features: Tensor) -> Tensor:
        """Returns unit descriptors (N, D) of masked features (N, C, h, w). Meant for eval mode."""
        # under autocast the norm of a half-precision vector would be off in the third digit
        return F.normalize(full_precision(self.feat_bn(self.pooled(masked_features))))

    def forward(self, images: Tensor) -> OAMNOutput | Tensor:
        """Returns :class:`OAMNOutput` in training, unit descriptors (N, D) in evaluation."""
        features = self.encode(images)
        if not self.training:
            return self.embed(features)
        mask, score_logits = self.attend(features)
        masked = self.apply_mask(features, mask)
        return OAMNOutput(features, mask, score_logits, *precisely(self._classify, self.pooled(masked)))

    def _classify(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = self.activation(self.feat_bn(pooled))
        return pooled, None if self.classifier is None else self.classifier(hidden)
