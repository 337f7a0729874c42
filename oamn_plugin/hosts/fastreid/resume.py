"""Hooks that keep a run: the best weights on validation, resumable checkpoints, and a clean end on a signal."""

from __future__ import annotations

import logging
import signal
from types import FrameType
from typing import Any

from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

from oamn_plugin.hosts.fastreid.checkpoint import save_checkpoint, save_step

logger = logging.getLogger("fastreid.oamn")
INTERRUPTED = 75
"""Exit code of a run that was asked to stop, saved its state and can be resumed (``EX_TEMPFAIL``)."""


class SelectionHook(HookBase):
    """Every ``TEST.EVAL_PERIOD`` epochs: scores on held-out training identities; keeps the best weights.

    Without held-out identities the test sets are scored instead, to be looked at; nothing is chosen by them.
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
        if not comm.is_main_process():
            return
        score = (found["Rank-1"] + found["mAP"]) / 2
        trainer.storage.put_scalars(validation_rank1=found["Rank-1"], validation_mAP=found["mAP"], smoothing_hint=False)
        if score > trainer.best["score"]:
            trainer.best = {"score": score, "epoch": epoch - 1}
            save_checkpoint(trainer.output / "model_best.pth", {"model": trainer.bare_model.state_dict()})


class CheckpointHook(HookBase):
    """Saves the whole state at the periods asked for, at the end, and when SIGTERM or SIGINT asks the run to stop."""

    trainer: Any

    def before_train(self) -> None:
        """Takes over the two signals that ask a run to stop."""
        self.asked: int | None = None
        self.before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
        try:
            for one in self.before:
                signal.signal(one, self._ask)
        except ValueError:  # not the main thread: whoever runs us there handles signals
            self.before = {}

    def after_step(self) -> None:
        """Saves where the period says so, and saves and leaves when asked to."""
        trainer, cfg = self.trainer, self.trainer.cfg
        step = trainer.iter + 1
        last = step % trainer.iters_per_epoch == 0
        if self.asked is not None and not last:
            self._save()
            self._leave()
        if cfg.SOLVER.CHECKPOINT_STEPS and step % cfg.SOLVER.CHECKPOINT_STEPS == 0 and not last:
            self._save()

    def after_epoch(self) -> None:
        """As after a step, once the epoch's learning rate and validation are done."""
        epoch = self.trainer.epoch + 1
        # the host's loop counts the step after this hook's turn
        self.trainer.iter -= 1
        try:
            due = epoch % self.trainer.cfg.SOLVER.CHECKPOINT_PERIOD == 0 or epoch == self.trainer.max_epoch
            if due or self.asked is not None or self.trainer.cfg.SOLVER.CHECKPOINT_STEPS:
                self._save()
        finally:
            self.trainer.iter += 1
        if self.asked is not None and epoch < self.trainer.max_epoch:
            self._leave()

    def after_train(self) -> None:
        """Gives the signals back."""
        for one, handler in self.before.items():
            signal.signal(one, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number

    def _save(self) -> None:
        if comm.is_main_process():
            state = self.trainer.state_dict()
            save_step(self.trainer.output, state["step"], state, self.trainer.cfg.SOLVER.CHECKPOINT_KEEP)

    def _leave(self) -> None:
        name = signal.Signals(self.asked or 0).name
        logger.warning("%s: the state is saved; go on with --resume. Exit code %d", name, INTERRUPTED)
        raise SystemExit(INTERRUPTED)
