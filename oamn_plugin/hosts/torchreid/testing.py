"""What every engine of this adapter does beside its loss: tests by the core, plain checkpoints, metrics."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.shared.checkpoint import save_checkpoint, save_step, step_files
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError
from oamn_plugin.hosts.shared.evaluation import Batch, Evaluation, ImageSet, Settings, evaluate
from oamn_plugin.hosts.shared.random_state import random_state, same_random_numbers, set_random_state
from oamn_plugin.hosts.shared.results import results_table, write_per_query, write_results
from oamn_plugin.hosts.shared.truth import truth_scores
from oamn_plugin.hosts.torchreid.checkpoint import model_state, plain_schedule
from oamn_plugin.modeling import OAMN, WholeModel, embedding_model
from oamn_plugin.retrieval import Reranking, Unification, fill_colour

METRICS = {"euclidean": "sqeuclidean", "cosine": "cosine"}


class CoreTesting:
    """Mixed into an engine of the host, before it: ``class TripletEngine(CoreTesting, ImageTripletEngine)``.

    Attributes:
        unification: how queries and gallery are unified; None: an OAMN's own, plain matching of other models.
        chunk_size: queries whose distances are in memory at once; None: about 256 MB.
        keep: resumable checkpoints that are kept; 0 writes none.
        results: data set to scores in percent, of the last test.
    """

    unification: Unification | None = None
    chunk_size: int | None = None
    keep = 2
    # of the host's engine
    datamanager: Any
    model: Any
    optimizer: Any
    scheduler: Any
    test_loader: Any
    use_gpu: bool
    writer: Any
    epoch: int

    def run(self, save_dir: str = "log", max_epoch: int = 0, start_epoch: int = 0, **kwargs: Any) -> None:
        """The host's: trains and tests, or only tests (``test_only``). Leaves a run folder as docs/ describes it.

        Args:
            save_dir: the run folder.
            max_epoch: last epoch, counted from 1.
            start_epoch: epochs that were trained before; see :meth:`resume`.
            **kwargs: the host's.

        Raises:
            BadLossError: a loss is not a finite number.
        """
        self.save_dir, self.max_epoch = Path(save_dir), max_epoch
        self.print_freq = kwargs.get("print_freq", 10)
        self.epoch = max(0, start_epoch - 1)  # what the host saves where nothing is left to train
        if not kwargs.get("test_only"):
            self._forget_after(start_epoch)
        super().run(save_dir=save_dir, max_epoch=max_epoch, start_epoch=start_epoch, **kwargs)  # type: ignore[misc]
        if max_epoch > 0 and not kwargs.get("test_only"):
            save_checkpoint(self.save_dir / "model_final.pth", model_state(self.bare_model))

    def _forget_after(self, epoch: int) -> None:
        """Removes what an earlier run in the same folder left of the epochs that come now."""
        for path in step_files(self.save_dir):
            if int(path.stem.rpartition("_")[2]) > epoch:
                path.unlink()
        metrics = self.save_dir / "metrics.json"
        if metrics.exists():
            lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
            metrics.write_text("".join(line for line in lines if json.loads(line)["epoch"] < epoch), encoding="utf-8")

    @property
    def bare_model(self) -> nn.Module:
        """The model without DataParallel around it."""
        return self.model.module if isinstance(self.model, nn.DataParallel) else self.model

    @property
    def generators(self) -> dict[str, torch.Generator]:
        """Generators of an engine's own, saved with a checkpoint."""
        return {}

    def train(self, *args: Any, **kwargs: Any) -> None:
        """One epoch by the host, and its resumable checkpoint."""
        self._since, self._pending = time.perf_counter(), 0
        super().train(*args, **kwargs)  # type: ignore[misc]
        if self._pending:  # the host's number of batches is an estimate, so its last one is known only now
            self._write_line()
        if self.keep:
            save_step(self.save_dir, self.epoch + 1, self.state_dict(), self.keep)

    def forward_backward(self, data: dict[str, Any]) -> dict[str, float]:
        """The host's step; its losses are checked and written to ``metrics.json``.

        Raises:
            BadLossError: a loss is not a finite number; the parameters may be spoilt.
        """
        summary = super().forward_backward(data)  # type: ignore[misc]
        self.check_losses(summary, data)
        self.write_metrics(summary, len(data["pid"]))
        return summary

    def check_losses(self, summary: dict[str, float], data: dict[str, Any]) -> None:
        """Raises BadLossError, with terms and images, unless every number is finite."""
        if not all(map(math.isfinite, summary.values())):
            terms = ", ".join(f"{name} {value:g}" for name, value in summary.items())
            paths = "\n  ".join(data["impath"][:64])
            raise BadLossError(
                f"the loss is no finite number in epoch {self.epoch + 1}, step {self.step}: {terms}. "
                f"Lower train.lr. Images of the batch:\n  {paths}"
            )

    @property
    def step(self) -> int:
        """Optimiser steps taken before this one."""
        return self.epoch * self.num_batches + self.batch_idx  # type: ignore[attr-defined]

    def write_metrics(self, summary: dict[str, float], images: int) -> None:
        """Adds a line to ``metrics.json`` where the host prints one; :meth:`train` adds one at the end of an epoch."""
        self._pending += images
        self._summary, self._step_images = summary, images
        if (self.batch_idx + 1) % self.print_freq == 0:  # type: ignore[attr-defined]
            self._write_line()

    def _write_line(self) -> None:
        now, summary = time.perf_counter(), self._summary
        speed, self._since, self._pending = self._pending / max(now - self._since, 1e-9), now, 0
        left = self.max_epoch * self.num_batches - self.step - 1  # type: ignore[attr-defined]
        total = summary.get("loss") or sum(value for name, value in summary.items() if name.startswith("loss"))
        line = {
            "iteration": self.step,
            "epoch": self.epoch,
            "total_loss": total,
            **{name: value for name, value in summary.items() if name not in ("loss", "acc")},
            **({"cls_accuracy": summary["acc"] / 100} if "acc" in summary else {}),
            "lr": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": speed,
            "eta_seconds": left * self._step_images / speed,
        }
        self.save_dir.mkdir(parents=True, exist_ok=True)
        with open(self.save_dir / "metrics.json", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save_model(self, epoch: int, rank1: float, save_dir: str, is_best: bool = False) -> None:
        """The host's checkpoint with the host's keys, as plain tensors and numbers that ``weights_only`` accepts."""
        for name in self.get_model_names():  # type: ignore[attr-defined]
            save_checkpoint(
                Path(save_dir) / name / f"model.pth.tar-{epoch + 1}",
                {**self.state_dict(), "epoch": epoch + 1, "rank1": float(rank1)},
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on, as plain data."""
        return {
            **model_state(self.bare_model),
            "epoch": self.epoch + 1,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": plain_schedule(self.scheduler),
            "random": random_state(self.generators, every_gpu=True),
        }

    def resume(self, state: dict[str, Any], source: str) -> int:
        """Puts everything back where a checkpoint of :meth:`state_dict` left it.

        Args:
            state: the content of the checkpoint.
            source: its file, for messages.

        Returns:
            ``start_epoch`` for :meth:`run`.

        Raises:
            CheckpointError: the checkpoint holds weights only or is of another model or optimiser.
        """
        lacking = [key for key in ("state_dict", "epoch", "optimizer") if key not in state]
        if lacking:
            raise CheckpointError(
                f"{source} cannot be resumed, it lacks {', '.join(lacking)}: load its weights with model.load_weights"
            )
        try:
            self.bare_model.load_state_dict(state["state_dict"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{source} is of another model or optimiser: {str(error).splitlines()[0]}") from error
        if self.scheduler is not None:
            self.scheduler.__dict__.update(state.get("scheduler") or {"last_epoch": state["epoch"]})
        if "random" in state:
            set_random_state(state["random"], self.generators)
        return int(state["epoch"])

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
        if visrank:
            raise ConfigError(
                "test.visrank needs the whole distance matrix: draw rank lists with tools/visualize.py ranks"
            )
        self.results = {}
        for name in self.test_loader:
            with same_random_numbers():
                found = self.evaluate(name, METRICS[dist_metric], normalize_feature, rerank)
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
        core, unification = embedding_of(bare, self.unification or own, self._image_size, normalised)
        settings = Settings(
            unification=unification,
            colour=fill_colour(unification.fill, *normalisation(self.datamanager)),
            metric=metric,
            rerank=Reranking() if rerank else None,
            chunk_size=self.chunk_size,
        )
        found = evaluate(core, self._image_set(name, "query"), self._image_set(name, "gallery"), settings)
        found.scores.update(truth_scores(core, found, self._batches(name, "query")))
        return found

    @property
    def _image_size(self) -> tuple[int, int]:
        return self.datamanager.height, self.datamanager.width

    def _image_set(self, name: str, part: str) -> ImageSet:
        loader = self.test_loader[name][part]
        records = [Record(*one[:3]) for one in getattr(loader.dataset, part)]
        return ImageSet(records, lambda start, stop: self._batches(name, part), loader.batch_size)

    def _batches(self, name: str, part: str) -> Iterator[Batch]:
        start = 0
        for data in self.test_loader[name][part]:
            images, pids, _ = self.parse_data_for_eval(data)  # type: ignore[attr-defined]
            yield Batch(range(start, start + len(pids)), images.cuda() if self.use_gpu else images)
            start += len(pids)


def normalisation(datamanager: Any) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (0..1) by which a data manager's last test transform normalises."""
    last = datamanager.transform_te.transforms[-1]
    return list(last.mean), list(last.std)


def embedding_of(
    model: nn.Module, unification: Unification, image_size: tuple[int, int], normalised: bool
) -> tuple[Any, Unification]:
    """A model of the host as an embedding model, in evaluation mode, and how it can be unified.

    Args:
        model: an OAMN, or any model of the host.
        unification: what is asked for; strips move from the features to the image where a model cannot be cut.
        image_size: (height, width) in pixels.
        normalised: unit descriptors for plain matching too.
    """
    if isinstance(model, OAMN):
        return model, unification
    matched = unification.kind == "matched"
    if not matched or unification.place == "image":
        return WholeModel(model, normalised=normalised or matched).eval(), unification
    core = embedding_model(model, image_size)
    return core.eval(), unification if core.blanks_features else replace(unification, place="image")
