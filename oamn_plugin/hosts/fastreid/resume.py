"""Hooks that keep a run: the best weights on validation, resumable checkpoints, and a clean end on a signal."""

from __future__ import annotations

import contextlib
import logging
import shlex
import signal
from types import FrameType
from typing import Any

from fastreid.engine.hooks import PeriodicWriter
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

from oamn_plugin.hosts.shared.checkpoint import save_checkpoint, save_step
from oamn_plugin.hosts.shared.distributed import any_process
from oamn_plugin.signals import INTERRUPTED, answering

logger = logging.getLogger("fastreid.oamn")


def leave_now(number: int, frame: FrameType | None) -> None:
    """Ends the process on a request to stop while nothing is to be saved; in training :class:`CheckpointHook` does."""
    name = signal.Signals(number).name
    logger.warning("%s: stopped outside training; go on with --resume. Exit code %d", name, INTERRUPTED)
    raise SystemExit(INTERRUPTED)


class WriterHook(PeriodicWriter):
    """The host's writer, except that an epoch's last line waits for its validation scores.

    A step is written once: scores that come after its line would never reach ``metrics.json``.
    """

    trainer: Any

    def after_step(self) -> None:
        """Writes where the period says so, if the epoch goes on."""
        if (self.trainer.iter + 1) % self.trainer.iters_per_epoch:
            super().after_step()


class SelectionHook(HookBase):
    """Every ``TEST.EVAL_PERIOD`` epochs: scores on held-out training identities; keeps the best weights.

    Without held-out identities the test sets are scored for information; no weights are chosen by them.
    """

    trainer: Any

    def after_epoch(self) -> None:
        """Evaluates where the period says so; the last epoch's test belongs to the trainer's end."""
        trainer, epoch = self.trainer, self.trainer.epoch + 1
        period = trainer.cfg.TEST.EVAL_PERIOD
        if period <= 0 or epoch % period:
            return
        if not trainer.held_out.query:
            if epoch < trainer.max_epoch:
                trainer.test(trainer.cfg, trainer.bare_model, note={"weights": f"epoch {epoch}, unfinished"})
                trainer.bare_model.train()
            return
        found = trainer.validate()
        trainer.bare_model.train()
        if comm.is_main_process():
            self._keep_best(found, epoch)
        # the other processes will load what the first one has chosen and, by now, written
        trainer.best = comm.all_gather(trainer.best)[0]

    def _keep_best(self, found: dict[str, Any], epoch: int) -> None:
        trainer = self.trainer
        score = (found["Rank-1"] + found["mAP"]) / 2
        trainer.storage.put_scalars(validation_rank1=found["Rank-1"], validation_mAP=found["mAP"], smoothing_hint=False)
        if score > trainer.best["score"]:
            trainer.best = {"score": score, "epoch": epoch - 1}
            save_checkpoint(trainer.output / "model_best.pth", {"model": trainer.bare_model.state_dict()})


class CheckpointHook(HookBase):
    """Saves the whole state at the periods asked for, at the end, and when SIGTERM or SIGINT asks the run to stop.

    With several processes the first one writes; all leave at the same step, whichever was asked.
    """

    trainer: Any

    def __init__(self) -> None:
        self.asked = 0
        self._answering = contextlib.ExitStack()

    def before_train(self) -> None:
        """Installs handlers for the signals that ask a run to stop."""
        self._answering.enter_context(answering(self._ask))

    def after_step(self) -> None:
        """Saves at the period; saves and ends on a request to stop. ``after_epoch`` handles an epoch's last step."""
        trainer, cfg = self.trainer, self.trainer.cfg
        step = trainer.iter + 1
        if step % trainer.iters_per_epoch == 0:
            return
        self._save(cfg.SOLVER.CHECKPOINT_STEPS and step % cfg.SOLVER.CHECKPOINT_STEPS == 0)

    def after_epoch(self) -> None:
        """As after a step, once the epoch's learning rate and validation are done."""
        epoch, solver = self.trainer.epoch + 1, self.trainer.cfg.SOLVER
        due = epoch % solver.CHECKPOINT_PERIOD == 0 or epoch == self.trainer.max_epoch
        # the host's loop counts the step after this hook's turn
        self.trainer.iter -= 1
        try:
            self._save(due or solver.CHECKPOINT_STEPS)
        finally:
            self.trainer.iter += 1

    def after_train(self) -> None:
        """Restores the earlier signal handlers."""
        self._answering.close()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number

    def _save(self, due: bool) -> None:
        """Saves where it is due or asked for, and ends if asked."""
        number = any_process(self.asked)
        if (due or number) and comm.is_main_process():
            state = self.trainer.state_dict()
            save_step(self.trainer.output, state["step"], state, self.trainer.cfg.SOLVER.CHECKPOINT_KEEP)
        if not number:
            return
        comm.synchronize()  # until the first process has written
        logger.warning(
            "%s: the state is saved; go on with --resume, such as oamn train %s --resume. Exit code %d",
            signal.Signals(number).name, shlex.quote(str(self.trainer.output / "config.yaml")), INTERRUPTED,
        )  # fmt: skip
        raise SystemExit(INTERRUPTED)
