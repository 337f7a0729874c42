"""One line of progress: losses, accuracy, throughput and time left."""

from __future__ import annotations

import datetime
import logging
from typing import Any

from fastreid.utils.events import EventWriter, get_event_storage

logger = logging.getLogger("fastreid.oamn")


class ProgressPrinter(EventWriter):
    """Prints losses, accuracy, throughput and the time left of a running training.

    Args:
        max_iter: optimiser steps of the whole run.
        iters_per_epoch: optimiser steps of an epoch.
    """

    def __init__(self, max_iter: int, iters_per_epoch: int) -> None:
        self.max_iter, self.iters_per_epoch, self._last = max_iter, iters_per_epoch, -1

    def write(self) -> None:
        """Writes a line for the current step, once."""
        storage = get_event_storage()
        step = storage.iter + 1
        if step == self._last or step > self.max_iter:
            return
        self._last = step
        histories: dict[str, Any] = storage.histories()
        parts = [f"epoch {(step - 1) // self.iters_per_epoch + 1}", f"step {step}/{self.max_iter}"]
        names = [name for name in histories if name.startswith("loss_")]
        parts.append(f"loss {_median(histories, 'total_loss'):.3f}")
        parts += [f"{name[5:]} {_median(histories, name):.3f}" for name in names if len(names) > 1]
        if "cls_accuracy" in histories:
            parts.append(f"accuracy {100 * _median(histories, 'cls_accuracy'):.0f} %")
        if "images_per_second" in histories:
            parts.append(f"{_median(histories, 'images_per_second'):.0f} images/s")
        if "time" in histories:
            left = int(histories["time"].median(200) * (self.max_iter - step))
            parts.append(f"{datetime.timedelta(seconds=left)} left")
        if "lr" in histories:
            parts.append(f"lr {histories['lr'].latest():.2e}")
        logger.info("  ".join(parts))


def _median(histories: dict[str, Any], name: str) -> float:
    return float(histories[name].median(20)) if name in histories else float("nan")
