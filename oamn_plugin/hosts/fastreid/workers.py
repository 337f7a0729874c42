"""A ``DataLoader`` whose workers pass errors on as they are, ignore Ctrl-C, and end with their process."""

from __future__ import annotations

import functools
import multiprocessing.util
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from oamn_plugin.datasets.images import BadImageError


class ImageLoader(DataLoader[Any]):
    """A ``DataLoader`` whose workers leave signals to the main process and hand a :class:`BadImageError` on as it is.

    The error would otherwise arrive as a traceback, and a Ctrl-C, which the terminal sends to every process, would end
    the workers before the step that is then saved.
    """

    def __init__(self, dataset: Dataset[Any], collate: Callable[[list[Any]], Any], **options: Any) -> None:
        if options.get("num_workers"):
            _end_workers_with_process(os.getpid())
        super().__init__(
            _Carrying(dataset),
            collate_fn=functools.partial(_first_error_or, collate),
            worker_init_fn=_leave_signals_to_main,
            # else every epoch of a test would draw a seed from the generator that dropout draws from
            generator=torch.Generator().manual_seed(0),
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Batches.

        Raises:
            BadImageError: an image cannot be read and the data set does not skip it.
        """
        for batch in super().__iter__():
            if isinstance(batch, BadImageError):
                raise batch
            yield batch


class _Carrying(Dataset[Any]):
    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except BadImageError as error:
            return error


def _first_error_or(collate: Callable[[list[Any]], Any], batch: list[Any]) -> Any:
    return next((item for item in batch if isinstance(item, BadImageError)), None) or collate(batch)


@functools.cache
def _end_workers_with_process(pid: int) -> None:
    """Once per process: kills remaining workers at its exit, since they ignore the SIGTERM that they would get."""
    multiprocessing.util.Finalize(None, _kill_workers, exitpriority=100)


def _kill_workers() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _leave_signals_to_main(_: int) -> None:
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
