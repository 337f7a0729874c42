"""Testing in every engine of this adapter: ranked and scored by this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation, EvaluationSettings, ImageSet, evaluate, host_encoder
from oamn_plugin.hosts.shared.galleries import sharing_galleries
from oamn_plugin.hosts.shared.random_state import same_random_numbers
from oamn_plugin.hosts.shared.results import results_table, write_per_query, write_results
from oamn_plugin.hosts.shared.truth import truth_scores
from oamn_plugin.modeling import OAMN
from oamn_plugin.retrieval import Reranking, Unification, fill_colour

HOST_METRICS = {"euclidean": "sqeuclidean", "cosine": "cosine"}
NO_PICTURES = "test.visrank needs the whole distance matrix: draw rank lists with `oamn visualize ranks`"


class CoreTesting:
    """Mixed into an engine of the host, before it: ``class TripletEngine(CoreTesting, ImageTripletEngine)``.

    Attributes:
        unification: how queries and gallery are unified; None: an OAMN's own, plain matching of other models.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        results: data set to scores in percent, of the last test.
    """

    unification: Unification | None = None
    chunk_size: int | None = None
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
            ConfigError: an unknown metric, the single-shot protocol of CUHK03, which needs random draws, or pictures of
                rank lists.
        """
        if dist_metric not in HOST_METRICS:
            raise ConfigError(f"test.dist_metric must be one of {', '.join(HOST_METRICS)}, got {dist_metric!r}")
        if use_metric_cuhk03:
            raise ConfigError(
                "cuhk03.use_metric_cuhk03: random single-shot galleries are not offered; use the new split"
            )
        if visrank:
            raise ConfigError(NO_PICTURES)
        self.results = {}
        with sharing_galleries():
            for name in self.test_loader:
                with same_random_numbers():
                    found = self.evaluate(name, HOST_METRICS[dist_metric], normalize_feature, rerank)
                self.results[name] = found.scores
                if save_dir:
                    write_per_query(Path(save_dir), name, found)
                if self.writer is not None:
                    for key in ("Rank-1", "mAP", "mAP_trapezoid"):
                        self.writer.add_scalar(f"Test/{name}/{key}", found.scores[key], self.epoch)
        if save_dir:
            write_results(Path(save_dir), self.results, {})
        print(f"Results, in percent:\n{results_table(self.results)}", flush=True)
        return found.result.rank(1)

    def evaluate(
        self, name: str, metric: str = "sqeuclidean", normalised: bool = False, rerank: bool = False
    ) -> Evaluation:
        """Scores the model on one target.

        Args:
            name: of ``datamanager.targets``.
            metric: ``sqeuclidean`` or ``cosine``.
            normalised: unit descriptors (OAMN's, and those that are matched, always are).
            rerank: k-reciprocal re-ranking.
        """
        self.set_model_mode("eval")  # type: ignore[attr-defined]
        bare = self.bare_model
        own = Unification.of(bare.options) if isinstance(bare, OAMN) else Unification()
        size = self.datamanager.height, self.datamanager.width
        encoder = host_encoder(bare, self.unification or own, normalised=normalised, input_size=size)
        settings = EvaluationSettings(
            unification=encoder.unification,
            colour=fill_colour(encoder.unification.fill, *normalisation(self.datamanager)),
            metric=metric,
            rerank=Reranking() if rerank else None,
            chunk_size=self.chunk_size,
        )
        query, gallery = (self._image_set(name, part) for part in ("query", "gallery"))
        found = evaluate(encoder.model, query, gallery, settings)
        found.scores.update(truth_scores(encoder.model, found, query.load(0, len(query.records))))
        return found

    def _image_set(self, name: str, part: str) -> ImageSet:
        loader = self.test_loader[name][part]
        records = [Record(*one[:3]) for one in getattr(loader.dataset, part)]

        def load(start: int, stop: int) -> Iterator[Batch]:
            for first, data in zip(range(0, stop, loader.batch_size), loader, strict=False):
                images, pids, _ = self.parse_data_for_eval(data)  # type: ignore[attr-defined]
                if first >= start:
                    yield Batch(range(first, first + len(pids)), images.cuda() if self.use_gpu else images)

        return ImageSet(records, load, loader.batch_size)


def normalisation(datamanager: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (0..1) by which a data manager's last test transform normalises."""
    last = datamanager.transform_te.transforms[-1]
    return list(last.mean), list(last.std)
