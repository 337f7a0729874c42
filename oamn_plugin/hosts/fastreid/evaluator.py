"""The evaluators: one data set, its queries and gallery described by a model, ranked by the core, scored per query."""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from oamn_plugin.datasets.records import Record
from oamn_plugin.files import write_atomically
from oamn_plugin.hosts.fastreid.config import oamn_options
from oamn_plugin.hosts.fastreid.loaders import build_test_loader
from oamn_plugin.hosts.fastreid.registries import EVALUATOR_REGISTRY
from oamn_plugin.hosts.fastreid.truth import truth_scores
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.modeling.precision import mixed_precision
from oamn_plugin.presets import Options
from oamn_plugin.retrieval import RankingResult, Reranking, evaluate_ranking, expand_all, tpr_at_fpr
from oamn_plugin.retrieval.store import DescriptorStore
from oamn_plugin.retrieval.unification import (
    QueryDescriptors,
    black_pixel,
    describe_gallery,
    describe_gallery_fast,
    describe_queries,
    needed_types,
)

logger = logging.getLogger("fastreid.oamn")


class PlainModel(nn.Module):
    """Any meta-architecture behind the four words that the core's retrieval speaks; its mask is 1 everywhere.

    Args:
        model: takes ``{"images": (N, 3, H, W) in 0..255}`` and gives descriptors (N, D).
        flip: average with the descriptor of the mirrored image.
        normalised: unit descriptors (cosine metric); False keeps their length (Euclidean).
    """

    def __init__(self, model: nn.Module, flip: bool, normalised: bool) -> None:
        super().__init__()
        self.model, self.flip, self.normalised = model, flip, normalised

    def encode(self, images: Tensor) -> Tensor:
        """Descriptors (N, D) of raw images; a copy, since the host normalises in place."""
        found = self.model({"images": images.clone()}).float()
        return (found + self.model({"images": images.flip(3)}).float()) / 2 if self.flip else found

    def attend(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """No mask and no opinion on occlusion."""
        return features.new_ones(1), features.new_zeros(len(features), 4)

    def apply_mask(self, features: Tensor, mask: Tensor) -> Tensor:
        """The features themselves."""
        return features

    def describe(self, features: Tensor) -> Tensor:
        """Unit length, where the metric asks for it."""
        return F.normalize(features) if self.normalised else features


class OcclusionUnifiedEvaluator:
    """Scores a model on one data set; OAMN with occlusion unification, any other model plainly.

    Queries are encoded once; gallery images for the occlusion types that some query has, and for no other; descriptors
    lie on disk by type; the distance matrix is never held. Both average precisions are reported.

    Args:
        cfg: the configuration.
        name: data set, the name of the result.
        query, gallery: records as the host has them, ``(path, pid, camid)``.
        occluder: occludes query images (generated occlusion of a validation split).
        unified: False for plain matching, whatever the model.
    """

    def __init__(
        self,
        cfg: CfgNode,
        name: str,
        query: Sequence[Any],
        gallery: Sequence[Any],
        occluder: Any = None,
        unified: bool = True,
    ) -> None:
        self.cfg, self.name, self.occluder, self.unified = cfg, name, occluder, unified
        self.query, self.gallery = [Record(*r[:3]) for r in query], [Record(*r[:3]) for r in gallery]
        if not self.query or not self.gallery:
            raise ConfigError(f"{name} has {len(self.query)} queries and {len(self.gallery)} gallery images")
        if cfg.TEST.METRIC not in ("cosine", "euclidean"):
            raise ConfigError(f"TEST.METRIC must be cosine or euclidean, got {cfg.TEST.METRIC!r}")

    def run(self, model: nn.Module) -> OrderedDict[str, Any]:
        """Describes, ranks and scores.

        Returns:
            scores in percent and counts (see docs/results_format.md); empty on processes other than the first.

        Raises:
            BadImageError: an image cannot be read and ``INPUT.BAD_IMAGES`` is ``fail``.
        """
        bare = model.module if isinstance(model, DistributedDataParallel) else model
        was_training = bare.training
        bare.eval()
        try:
            with DescriptorStore() as store, torch.inference_mode():
                return self._run(bare, store)
        finally:
            bare.train(was_training)

    def _run(self, bare: nn.Module, store: DescriptorStore) -> OrderedDict[str, Any]:
        core, options = self._core(bare)
        skipped: list[str] = []
        kept_query, queries = self._describe_queries(bare, core, options, skipped)
        names = needed_types(queries, options)
        start = time.perf_counter()
        kept_gallery = self._describe_gallery(bare, core, options, names, store, skipped)
        seconds = time.perf_counter() - start
        if not comm.is_main_process():
            return OrderedDict()
        if not kept_gallery:
            raise ConfigError(f"{self.name}: none of {len(self.gallery)} gallery images can be read: {skipped[-1]}")
        query, gallery = [self.query[i] for i in kept_query], [self.gallery[i] for i in kept_gallery]
        result, rates = self._rank(queries, store, names, query, gallery)
        found: OrderedDict[str, Any] = OrderedDict(result.to_percent())
        found.update(rates)
        found["seconds_per_1000_gallery"] = 1000 * seconds / max(1, len(kept_gallery))
        if isinstance(bare, nn.Module) and hasattr(bare, "oamn") and self.occluder is None:
            found.update(truth_scores(self.cfg, bare, query, queries))
        if skipped:
            found["skipped_images"] = len(skipped)
            logger.warning("%d images could not be read and were left out:\n  %s", len(skipped), "\n  ".join(skipped))
        self._write_per_query(result, query, queries)
        self._log(found)
        return found

    def _precision(self) -> AbstractContextManager[Any]:
        """Describing may be in mixed precision; ranking never is."""
        return mixed_precision(self.cfg.MODEL.DEVICE, self.cfg.TEST.AMP)

    def _core(self, bare: nn.Module) -> tuple[Any, Options]:
        options = oamn_options(self.cfg)
        if not hasattr(bare, "oamn"):
            normalised = self.cfg.TEST.METRIC == "cosine"
            plain = PlainModel(bare, self.cfg.TEST.FLIP.ENABLED, normalised).eval()
            return plain, replace(options, unify=False, plain_share=0)
        unify = options.unify and options.mask_module and self.unified
        if unify and self.cfg.TEST.FLIP.ENABLED:
            raise ConfigError("TEST.FLIP.ENABLED does not go with occlusion unification: a flip changes the sides")
        if replace(options, unify=unify).weighted and (self.cfg.TEST.ROC.ENABLED or self.cfg.TEST.AQE.ENABLED):
            raise ConfigError(
                "TEST.ROC and TEST.AQE compare queries with each other, whose weights differ where unification is "
                "weighted: add MODEL.OAMN.UNIFICATION typed, or leave them out"
            )
        return bare.oamn, replace(options, unify=unify)

    def _batches(
        self,
        bare: nn.Module,
        records: list[Record],
        what: str,
        kept: list[int],
        skipped: list[str],
        occluder: Any = None,
    ) -> Iterator[Tensor]:
        loader = build_test_loader(self.cfg, records, occluder)
        hidden = not comm.is_main_process() or len(loader) < 4
        for indices, images, reasons in tqdm(loader, desc=f"{self.name} {what}", disable=hidden, leave=False):
            skipped += reasons
            if images is not None:
                kept += indices
                yield bare.normalise(images) if hasattr(bare, "oamn") else images.float()  # type: ignore[operator]

    def _describe_queries(
        self, bare: nn.Module, core: Any, options: Options, skipped: list[str]
    ) -> tuple[list[int], QueryDescriptors]:
        kept: list[int] = []
        batches = self._batches(bare, self.query, "queries", kept, skipped, self.occluder)
        first = next(batches, None)  # None: no share, or nothing in it can be read
        black = black_pixel(self.cfg.MODEL.PIXEL_MEAN, self.cfg.MODEL.PIXEL_STD)
        own = None
        if first is not None:
            with self._precision():
                own = list(describe_queries(core, itertools.chain([first], batches), options, black=black))
        everywhere = comm.all_gather((kept, own, skipped))
        parts = [part for part in everywhere if part[1] is not None]
        if not parts:
            raise ConfigError(f"{self.name}: none of {len(self.query)} query images can be read: {everywhere[0][2][0]}")
        order = np.argsort([index for part in parts for index in part[0]], kind="stable")
        joined = [torch.cat([part[1][field] for part in parts])[order] for field in range(4)]
        skipped[:] = [reason for part in everywhere for reason in part[2]]
        return sorted(index for part in parts for index in part[0]), QueryDescriptors(*joined)

    def _describe_gallery(
        self,
        bare: nn.Module,
        core: Any,
        options: Options,
        names: Sequence[str],
        store: DescriptorStore,
        skipped: list[str],
    ) -> list[int]:
        kept: list[int] = []
        describe = describe_gallery_fast if self.cfg.TEST.OAMN.FAST else describe_gallery
        black = black_pixel(self.cfg.MODEL.PIXEL_MEAN, self.cfg.MODEL.PIXEL_STD)
        own_skipped: list[str] = []
        device = torch.device(self.cfg.MODEL.DEVICE)
        for images in self._batches(bare, self.gallery, "gallery", kept, own_skipped):
            images = images.to(device).contiguous(memory_format=torch.channels_last)
            with self._precision():
                store.append(describe(core, images, names, options, black))
        store.finish()
        if comm.get_world_size() == 1:
            skipped += own_skipped
            return kept
        parts = comm.gather((kept, own_skipped, {name: np.asarray(store[name]) for name in names} if kept else {}))
        if not comm.is_main_process():
            return []
        order = np.argsort([index for part in parts for index in part[0]], kind="stable")
        store.append({name: np.concatenate([part[2][name] for part in parts if part[2]])[order] for name in names})
        store.finish()
        skipped += [reason for part in parts for reason in part[1]]
        return sorted(index for part in parts for index in part[0])

    def _rank(
        self,
        queries: QueryDescriptors,
        store: DescriptorStore,
        names: Sequence[str],
        query: list[Record],
        gallery: list[Record],
    ) -> tuple[RankingResult, dict[str, float]]:
        labels = (_column(query, "pid"), _column(gallery, "pid"), _column(query, "camid"), _column(gallery, "camid"))
        described, by_type = self._expanded(queries, store, names)
        side = by_type["none"] if set(by_type) == {"none"} else by_type  # plain matching: whatever type a query has
        test = self.cfg.TEST
        again = Reranking(test.RERANK.K1, test.RERANK.K2, test.RERANK.LAMBDA) if test.RERANK.ENABLED else None
        result = evaluate_ranking(
            *(described, side, *labels),
            query_types=queries.type_names,
            chunk_size=test.OAMN.CHUNK_SIZE or None,
            rerank=again,
        )
        rates = {}
        if test.ROC.ENABLED:
            found = tpr_at_fpr(described, side, *labels, query_types=queries.type_names, metric="sqeuclidean")
            rates = {f"TPR@FPR={fpr:.0e}": 100 * rate for fpr, rate in found.items()}
        return result, rates

    def _expanded(
        self, queries: QueryDescriptors, store: DescriptorStore, names: Sequence[str]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Queries and, by type, gallery; expanded by their neighbours of the same type where ``TEST.AQE`` says so."""
        expansion = self.cfg.TEST.AQE
        if not expansion.ENABLED:
            return queries.descriptors, {name: store[name] for name in names}
        described, types = queries.descriptors.numpy().copy(), np.array(queries.type_names)
        side: dict[str, Any] = {}
        for name in names:
            rows = np.flatnonzero(types == name) if len(names) > 1 else np.arange(len(types))
            settings = {"k": expansion.QE_K, "alpha": expansion.ALPHA, "times": expansion.QE_TIME}
            described[rows], side[name] = expand_all(described[rows], store[name], **settings)
        return described, side

    def _write_per_query(self, result: RankingResult, query: list[Record], queries: QueryDescriptors) -> None:
        content = io.BytesIO()
        np.savez(
            content,
            ap=result.ap,
            ap_trapezoid=result.ap_trapezoid,
            inp=result.inp,
            first_rank=result.first_rank,
            valid=result.valid,
            pids=_column(query, "pid"),
            camids=_column(query, "camid"),
            types=queries.types.numpy(),
            confidence=queries.confidence.numpy(),
            paths=np.array([record.path for record in query]),
        )
        write_atomically(Path(self.cfg.OUTPUT_DIR) / "per_query" / f"{self.name}.npz", content.getbuffer())

    def _log(self, found: dict[str, Any]) -> None:
        shown = ("Rank-1", "Rank-5", "mAP", "mAP_trapezoid", "mINP", "type_accuracy", "mask_auc")
        logger.info("%s: %s", self.name, "  ".join(f"{key} {found[key]:.1f}" for key in shown if key in found))


class ReidEvaluator(OcclusionUnifiedEvaluator):
    """Plain matching under the host's own evaluator's name; OAMN is tested without unification."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "unified": False})


Evaluator = OcclusionUnifiedEvaluator
EVALUATOR_REGISTRY.register(OcclusionUnifiedEvaluator)
EVALUATOR_REGISTRY.register(ReidEvaluator)


def _column(records: list[Record], name: str) -> np.ndarray:
    return np.array([getattr(record, name) for record in records])
