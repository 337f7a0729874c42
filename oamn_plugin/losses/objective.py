"""The whole training objective of OAMN: weighted losses, one backward pass, gradients routed as in the method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.losses.circle import circle_logits
from oamn_plugin.losses.common import check_views, full_precision, groups_of
from oamn_plugin.losses.mask import MaskConsistencyLoss
from oamn_plugin.losses.position import PositionLoss
from oamn_plugin.losses.score import OcclusionScoreLoss
from oamn_plugin.losses.triplet import GroupedTripletLoss
from oamn_plugin.presets import Options

if TYPE_CHECKING:
    from oamn_plugin.modeling.oamn import OAMNOutput


class OAMNObjective(nn.Module):
    """Weighted losses of one training step; the sum of the returned values is what to minimise.

    Which parameters learn from what (OAMN, ICCV 2021, and its released code): backbone and head from identity and
    triplet; the mask module from these (through ``f * m``), the mask losses and the position loss; the scorer from the
    score loss alone. The model's detached inputs and :class:`MaskConsistencyLoss` see to it, so one backward pass over
    the sum suffices where the released code needs two optimisers and two passes.

    Args:
        options: the model's options; weights, margins, targets and label smoothing are read from it.

    Returns:
        dict with ``loss_identity``, ``loss_triplet`` and, with a mask module, ``loss_mask1``, ``loss_mask2``,
        ``loss_score``; ``loss_position`` if its weight is not 0. Scalars, weights included.

    Raises:
        ValueError: the model has no classifier, or shapes do not fit together.
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options
        self.triplet = GroupedTripletLoss(options.triplet_margin, options.triplet_grouping, options.triplet_form)
        self.mask = MaskConsistencyLoss(options.mask2_over_half_only, options.mask_floor)
        self.score = OcclusionScoreLoss(options.score_targets)
        self.position = PositionLoss()

    def forward(
        self, output: OAMNOutput, pids: Tensor, types: Tensor, covered: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Returns the weighted losses of B images in V views.

        Args:
            output: of the model in training, for the B * V views in the order of ``views.flatten(0, 1)``.
            pids: (B,) long, class indices.
            types: (B, V) long, occlusion types.
            covered: (B, V, H, W) bool, the pixels that are hidden; None: those of the types' strips.
        """
        check_views(types)
        if len(output.pooled) != types.numel():
            raise ValueError(
                f"the output holds {len(output.pooled)} views, types {types.shape[0]} images in {types.shape[1]} views"
            )
        pids, groups = pids.repeat_interleave(types.shape[1]), groups_of(types).flatten()
        losses = self._identity_losses(output, pids, groups)
        if self.options.mask_module:
            losses.update(self._mask_losses(output, types, covered))
        return losses

    def _identity_losses(self, output: OAMNOutput, pids: Tensor, groups: Tensor) -> dict[str, Tensor]:
        if output.class_logits is None:
            raise ValueError("the identity loss needs a classifier: build OAMN with num_classes above 0")
        options = self.options
        logits = full_precision(output.class_logits)
        if options.classifier == "circle":
            logits = circle_logits(logits, pids)
        identity = F.cross_entropy(logits, pids, label_smoothing=options.label_smoothing)
        return {
            "loss_identity": options.identity_weight * identity,
            "loss_triplet": options.triplet_weight * self.triplet(output.pooled, pids, groups),
        }

    def _mask_losses(self, output: OAMNOutput, types: Tensor, covered: Tensor | None) -> dict[str, Tensor]:
        options = self.options
        features, masks, logits = (t.unflatten(0, types.shape) for t in output[:3])
        # one view an image has nothing to compare with
        mask1, mask2 = self.mask(features, masks, types) if types.shape[1] > 1 else [0 * masks.sum()] * 2
        losses = {
            "loss_mask1": options.mask1_weight * mask1,
            "loss_mask2": options.mask2_weight * mask2,
            "loss_score": options.score_weight * self.score(logits, types, covered),
        }
        if options.position_weight:
            losses["loss_position"] = options.position_weight * self.position(masks, types, covered)
        return losses
