"""Batch-hard triplet losses over groups of views."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oamn_plugin.losses.common import full_precision

GROUPINGS = ("grouped", "plain")
FORMS = ("hinge", "soft")


class GroupedTripletLoss(nn.Module):
    """Batch-hard triplet loss whose anchor, positive and negative all come from the same group of views.

    Per group: the mean over its anchors of ``max(0, d(a, p) - d(a, n) + margin)``, d Euclidean, p the farthest
    embedding of the anchor's identity, n the nearest of another identity; anchors without a positive or without a
    negative do not count. The loss is the mean over the groups present in the batch, a group without any triplet adding
    0: with all five views per image it is the (1/5) sum of OAMN (ICCV 2021), section 3.4.

    Args:
        margin: distance by which a negative must be farther than the positive.
        grouping: ``grouped``, or ``plain``: one group of all views (Hermans et al., 2017).
        form: ``hinge``, or ``soft``: ``log(1 + exp(d(a, p) - d(a, n)))``, which never ends and takes no margin.

    Shapes:
        embeddings (N, D) raw (not normalised), pids (N,), groups (N,) to a scalar; 0, connected to the embeddings, if
        no triplet exists.

    Raises:
        ValueError: negative margin, unknown grouping or form.

    >>> loss = GroupedTripletLoss(margin=0.5)
    >>> points = torch.tensor([[0.0], [3.0], [1.0]])
    >>> loss(points, torch.tensor([1, 1, 2]), torch.tensor([0, 0, 0]))
    tensor(2.)
    """

    def __init__(self, margin: float = 0.5, grouping: str = "grouped", form: str = "hinge") -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"margin must not be negative, got {margin}")
        for name, value, known in (("grouping", grouping, GROUPINGS), ("form", form, FORMS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.margin = margin
        self.grouping = grouping
        self.form = form

    def forward(self, embeddings: Tensor, pids: Tensor, groups: Tensor) -> Tensor:
        """Returns the loss of embeddings (N, D) with identities and groups (N,)."""
        if self.grouping == "plain":
            groups = torch.zeros_like(pids)
        embeddings, same_group, same_pid = full_precision(embeddings), groups[:, None] == groups, pids[:, None] == pids
        positives = same_group & same_pid & ~torch.eye(len(pids), dtype=torch.bool, device=pids.device)
        negatives = same_group & ~same_pid
        far, near = _hardest(embeddings, positives, negatives)
        valid = positives.any(1) & negatives.any(1)  # anchors that have a triplet
        difference = _distance(embeddings, embeddings[far]) - _distance(embeddings, embeddings[near])
        losses = F.softplus(difference) if self.form == "soft" else (difference + self.margin).clamp_min(0)
        losses = torch.where(valid, losses, 0.0)
        names, index = torch.unique(groups, return_inverse=True)
        zeros = losses.new_zeros(len(names))
        sums = zeros.index_add(0, index, losses)
        counts = zeros.index_add(0, index, valid.to(losses.dtype))
        return (sums / counts.clamp_min(1)).mean()

    def extra_repr(self) -> str:
        """Returns the arguments for ``print(module)``."""
        return f"margin={self.margin}, grouping={self.grouping!r}, form={self.form!r}"


@torch.no_grad()
def _hardest(embeddings: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (N,) of the farthest positive and the nearest negative. Only the choice is made here, so no gradient."""
    # centred, because the expanded square loses digits when all points are far from the origin
    points = embeddings - embeddings.mean(0)
    norms = points.square().sum(1)
    with torch.autocast(points.device.type, enabled=False):
        distances = norms[:, None] + norms[None] - 2 * points @ points.T
    far = distances.masked_fill(~positives, -torch.inf).argmax(1)
    return far, distances.masked_fill(~negatives, torch.inf).argmin(1)


def _distance(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distances (N,) of rows. The gradient at distance 0 is 0, where that of a plain root is infinite."""
    return (left - right).square().sum(1).clamp_min(1e-12).sqrt()
