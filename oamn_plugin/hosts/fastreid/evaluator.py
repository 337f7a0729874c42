"""The evaluators: one data set, its queries and gallery described by a model, ranked by the core, scored per query."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.fastreid.inference import encoder_of
from oamn_plugin.hosts.fastreid.loaders import build_test_loader
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import Batch, EvaluationSettings, ImageSet, evaluate
from oamn_plugin.hosts.shared.results import write_per_query
from oamn_plugin.hosts.shared.truth import truth_scores
from oamn_plugin.modeling.precision import mixed_precision
from oamn_plugin.retrieval import Reranking
from oamn_plugin.retrieval.unification import evaluation_mode
from oamn_plugin.search.encoder import ImageEncoder

logger = logging.getLogger("fastreid.oamn")


class OcclusionUnifiedEvaluator:
    """Scores a model on one data set, with the unification that ``TEST.UNIFICATION`` asks for.

    Args:
        cfg: the configuration.
        name: data set, the name of the result.
        query, gallery: records as the host has them, ``(path, pid, camid)``.
        occluder: occludes query images (generated occlusion of a validation split).
        judged: compare masks and occlusion types with what hides the queries, where that is known: the queries are then
            encoded once more.
    """

    def __init__(
        self,
        cfg: CfgNode,
        name: str,
        query: Sequence[Any],
        gallery: Sequence[Any],
        occluder: Any = None,
        judged: bool = True,
    ) -> None:
        self.cfg, self.name, self.occluder, self.judged = cfg, name, occluder, judged
        self.query, self.gallery = [Record(*r[:3]) for r in query], [Record(*r[:3]) for r in gallery]
        if not self.query or not self.gallery:
            raise ConfigError(f"{name} has {len(self.query)} queries and {len(self.gallery)} gallery images")

    def run(self, model: nn.Module) -> OrderedDict[str, Any]:
        """Describes, ranks and scores.

        Returns:
            scores in percent and counts (see docs/results_format.md), the same on every process.

        Raises:
            BadImageError: an image cannot be read and ``INPUT.BAD_IMAGES`` is ``fail``.
            EvaluationError: none can be read.
        """
        bare = model.module if isinstance(model, DistributedDataParallel) else model
        with evaluation_mode(bare):
            return self._run(encoder_of(self.cfg, bare))

    def _run(self, encoder: ImageEncoder) -> OrderedDict[str, Any]:
        query = self._image_set(encoder, self.query, "queries", self.occluder)
        gallery = self._image_set(encoder, self.gallery, "gallery")
        evaluation = evaluate(encoder.model, query, gallery, evaluation_settings(self.cfg, encoder))
        scores = OrderedDict(evaluation.scores)
        if comm.is_main_process():
            if self.judged:
                batches = query.load(0, len(self.query))
                scores.update(truth_scores(encoder.model, evaluation, batches, self.occluder))
            if reasons := evaluation.skipped:
                logger.warning(
                    "%d images could not be read and were left out:\n  %s", len(reasons), "\n  ".join(reasons)
                )
            write_per_query(Path(self.cfg.OUTPUT_DIR), self.name, evaluation)
            shown = ("Rank-1", "Rank-5", "mAP", "mAP_trapezoid", "mINP", "type_accuracy", "mask_auc")
            logger.info("%s: %s", self.name, "  ".join(f"{key} {scores[key]:.1f}" for key in shown if key in scores))
        return scores

    def _image_set(self, encoder: ImageEncoder, records: list[Record], what: str, occluder: Any = None) -> ImageSet:
        def load(start: int, stop: int) -> Iterator[Batch]:
            loader = build_test_loader(self.cfg, records, occluder, range(start, stop))
            hidden = not comm.is_main_process() or len(loader) < 4
            for indices, images, reasons in tqdm(loader, desc=f"{self.name} {what}", disable=hidden, leave=False):
                yield Batch(indices, None if images is None else encoder.normalise(images), reasons)

        return ImageSet(records, load, self.cfg.TEST.IMS_PER_BATCH)


EVALUATOR_REGISTRY.register(OcclusionUnifiedEvaluator)


def evaluation_settings(cfg: CfgNode, encoder: ImageEncoder) -> EvaluationSettings:
    """The settings of an evaluation in the section ``TEST``."""
    test = cfg.TEST
    expansion = {"k": test.AQE.QE_K, "alpha": test.AQE.ALPHA, "times": test.AQE.QE_TIME}
    return EvaluationSettings(
        unification=encoder.unification,
        colour=encoder.colour,
        rerank=Reranking(test.RERANK.K1, test.RERANK.K2, test.RERANK.LAMBDA) if test.RERANK.ENABLED else None,
        expansion=expansion if test.AQE.ENABLED else None,
        rates=test.ROC.ENABLED,
        chunk_size=test.CHUNK_SIZE or None,
        precision=lambda: mixed_precision(cfg.MODEL.DEVICE, test.AMP),
    )
