"""The learning rate of the released OAMN code, and the state of a scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from oamn_plugin.hosts.shared.errors import ConfigError

_MOVING = ("last_epoch", "_step_count", "_last_lr")
"""What a scheduler changes as it goes."""


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


def oamn_schedule(optimizer: torch.optim.Optimizer, max_epoch: int) -> LambdaLR:
    """A scheduler by :func:`oamn_rate`."""
    scheduler = LambdaLR(optimizer, lambda epoch: oamn_rate(epoch, max_epoch))
    scheduler.max_epoch = max_epoch  # type: ignore[attr-defined]  # of its plan
    return scheduler


def scheduler_state(scheduler: Any) -> dict[str, Any]:
    """The state of a learning rate scheduler and the plan that it follows, as plain data; empty without one."""
    if scheduler is None:
        return {}
    return {**{name: vars(scheduler)[name] for name in _MOVING if name in vars(scheduler)}, "plan": _plan(scheduler)}


def restore_scheduler(scheduler: Any, state: Mapping[str, Any], source: object) -> None:
    """Sets a scheduler to a stored state.

    Args:
        scheduler: built by the configuration of now.
        state: of :func:`scheduler_state`; that of earlier versions and of the hosts has no plan.
        source: the run, for messages.

    Raises:
        ConfigError: the learning rate was planned otherwise: going on would follow neither plan. A cosine schedule that
            has come to its end, for one, stays there whatever number of epochs follows.
    """
    now, then = _plan(scheduler), state.get("plan") or {name: state[name] for name in ("base_lrs",) if name in state}
    changed = [name for name, value in now.items() if name in then and then[name] != value]
    if changed:
        told = "; ".join(f"{name} {str(then[name])[:80]} then, {str(now[name])[:80]} now" for name in changed)
        raise ConfigError(
            f"the run in {source} cannot go on with another plan of its learning rate ({told}): resume with the "
            "epochs, rates and schedule it was started with, or start in another folder"
        )
    vars(scheduler).update({name: value for name, value in state.items() if name in _MOVING})


def _plan(scheduler: Any) -> dict[str, Any]:
    """What a scheduler was built with; milestones, which it counts, as a list."""
    own = {name: sorted(value) if isinstance(value, Counter) else value for name, value in vars(scheduler).items()}
    kept = {
        name: value
        for name, value in own.items()
        if name not in _MOVING and not name.startswith("_") and isinstance(value, int | float | str | list | tuple)
    }
    return {"schedule": type(scheduler).__name__, **kept}
