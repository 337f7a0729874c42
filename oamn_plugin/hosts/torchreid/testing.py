"""How every engine of this adapter tests: by the core's ranking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.shared import evaluation
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation, PlainModel
from oamn_plugin.hosts.shared.random_state import same_random_numbers
from oamn_plugin.hosts.shared.results import results_table, write_per_query, write_results
from oamn_plugin.hosts.torchreid.compat import host_module
from oamn_plugin.modeling import OAMN
from oamn_plugin.presets import Options
from oamn_plugin.retrieval import Reranking, black_pixel

METRICS = {"euclidean": "sqeuclidean", "cosine": "cosine"}


class CoreTesting:
    """Mixed into an engine of the host, before it: ``class TripletEngine(CoreTesting, ImageTripletEngine)``.

    Attributes:
        options: how OAMN is tested; None: the model's own options.
        fast: approximate occlusion unification.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        channels_last: memory layout of images; about twice as fast on a CPU for networks in the same layout.
        results: data set to scores in percent, of the last test.
    """

    options: Options | None = None
    fast = False
    chunk_size: int | None = None
    channels_last = False
    # of the host's engine
    datamanager: Any
    model: Any
    test_loader: Any
    use_gpu: bool
    writer: Any
    epoch: int

    @property
    def bare_model(self) -> nn.Module:
        """The model without DataParallel around it."""
        return self.model.module if isinstance(self.model, nn.DataParallel) else self.model

    def test(
        self,
        dist_metric: str = "euclidean",
        normalize_feature: bool = False,
        visrank: bool = False,
        visrank_topk: int = 10,
        save_dir: str = "",
        use_metric_cuhk03: bool = False,
        ranks: Any = (1, 5, 10, 20),
        rerank: bool = False,
    ) -> float:
        """Tests on every target by the core's ranking; arguments as the host's.

        Returns:
            Rank-1 of the last target, a fraction.

        Raises:
            ConfigError: an unknown metric, or the single-shot protocol of CUHK03, which needs random draws.
        """
        if dist_metric not in METRICS:
            raise ConfigError(f"test.dist_metric must be one of {', '.join(METRICS)}, got {dist_metric!r}")
        if use_metric_cuhk03:
            raise ConfigError(
                "cuhk03.use_metric_cuhk03: random single-shot galleries are not offered; use the new split"
            )
        self.results = {}
        for name in self.test_loader:
            with same_random_numbers():
                found = self.evaluate(name, METRICS[dist_metric], normalize_feature, rerank, visrank)
            self.results[name] = found.scores
            if save_dir:
                write_per_query(Path(save_dir), name, found.result, found.query, found.queries)
            if visrank:
                self._show_ranks(name, found, save_dir, visrank_topk)
            if self.writer is not None:
                for key in ("Rank-1", "mAP", "mAP_trapezoid"):
                    self.writer.add_scalar(f"Test/{name}/{key}", found.scores[key], self.epoch)
        if save_dir:
            write_results(Path(save_dir), self.results, {})
        print(f"Results, in percent:\n{results_table(self.results)}", flush=True)
        return found.result.rank(1)

    def evaluate(
        self, name: str, metric: str = "sqeuclidean", normalised: bool = False, rerank: bool = False, keep: bool = False
    ) -> Evaluation:
        """Scores the model on one target: OAMN with occlusion unification, any other model plainly.

        Args:
            name: of ``datamanager.targets``.
            metric: ``sqeuclidean`` or ``cosine``.
            normalised: unit descriptors (OAMN's always are).
            rerank: k-reciprocal re-ranking.
            keep: keep the distance matrix.
        """
        self.set_model_mode("eval")  # type: ignore[attr-defined]
        bare = self.bare_model
        core: Any = bare if isinstance(bare, OAMN) else PlainModel(bare, normalised).eval()
        found = evaluation.evaluate(
            core,
            self._batches(name, "query"),
            self._batches(name, "gallery"),
            self.options or (bare.options if isinstance(bare, OAMN) else Options()),
            black=black_pixel(*normalisation(self.datamanager)),
            fast=self.fast,
            metric=metric,
            rerank=Reranking() if rerank else None,
            chunk_size=self.chunk_size,
            channels_last=self.channels_last,
            keep_distances=keep,
        )
        found.scores.update(evaluation.truth_scores(core, found, self._batches(name, "query")))
        return found

    def _batches(self, name: str, part: str) -> Iterator[Batch]:
        for data in self.test_loader[name][part]:
            images, pids, camids = self.parse_data_for_eval(data)  # type: ignore[attr-defined]
            labels = zip(data["impath"], pids.tolist(), camids.tolist(), strict=True)
            yield Batch(images.cuda() if self.use_gpu else images, [Record(*one) for one in labels])

    def _show_ranks(self, name: str, found: Evaluation, save_dir: str, topk: int) -> None:
        manager = self.datamanager
        assert found.distances is not None
        host_module("utils").visualize_ranked_results(
            found.distances.numpy(),
            manager.fetch_test_loaders(name),
            manager.data_type,
            width=manager.width,
            height=manager.height,
            save_dir=str(Path(save_dir) / f"visrank_{name}"),
            topk=topk,
        )


def normalisation(datamanager: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (0..1) by which a data manager's last test transform normalises."""
    last = datamanager.transform_te.transforms[-1]
    return list(last.mean), list(last.std)
