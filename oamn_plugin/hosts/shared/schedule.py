"""The learning rate of the released OAMN code, and the state of a scheduler."""

from __future__ import annotations

from typing import Any


def oamn_rate(epoch: int, max_epoch: int = 30) -> float:
    """Learning rate of the released OAMN at a 0-based epoch, relative to its base 0.1, stretched to ``max_epoch``.

    0.08 * e / 10 of the base up to epoch 9, the base from 10, a hundredth from 17, a thousandth from 24 (of 30).

    >>> [round(0.1 * oamn_rate(e), 6) for e in (0, 5, 9, 10, 16, 17, 23, 24)]
    [0.0, 0.0004, 0.00072, 0.1, 0.1, 0.001, 0.001, 0.0001]
    """
    at = epoch * 30 / max_epoch
    if at < 10:
        return 0.008 * at / 10
    return 1.0 if at < 17 else 0.01 if at < 24 else 0.001


def scheduler_state(scheduler: Any) -> dict[str, Any]:
    """The state of a learning rate scheduler, as plain data; empty without one."""
    names = ("last_epoch", "_step_count", "_last_lr", "base_lrs")
    return {name: vars(scheduler)[name] for name in names if name in vars(scheduler)} if scheduler else {}
