"""The toolboxes as a benchmark suite needs them: the values of a configuration, and whether it would work."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


class FastReID:
    """fastreid, imported on first use."""

    def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
        """Every key with its value, the preset's options in full."""
        from oamn_plugin.hosts.fastreid.config import load_config, resolved

        return flat(resolved(load_config(config, options)))

    def check(self, config: str, options: Sequence[str], train: bool) -> None:
        """The checks of ``oamn train`` before a training; without ``train``, before a test, but not of its weights."""
        from oamn_plugin.hosts.fastreid.config import load_config
        from oamn_plugin.hosts.fastreid.preflight import check_data, check_settings, preflight
        from oamn_plugin.hosts.shared.preflight import refuse

        cfg = load_config(config, options)
        with contextlib.redirect_stdout(io.StringIO()):  # the tables of every method
            if train:
                preflight(cfg)
            else:
                refuse(check_settings(cfg, train) or check_data(cfg, train))


class Torchreid:
    """torchreid, imported on first use."""

    def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
        """Every key with its value, the preset's options in full."""
        from oamn_plugin.hosts.torchreid.config import load_config, resolved

        return flat(resolved(load_config(config, options)))

    def check(self, config: str, options: Sequence[str], train: bool) -> None:
        """The preflight of ``oamn train``; a test's, its weights apart, is no other."""
        from oamn_plugin.hosts.torchreid.builders import build_datamanager, register_from
        from oamn_plugin.hosts.torchreid.config import load_config
        from oamn_plugin.hosts.torchreid.preflight import check_data, check_settings

        cfg = load_config(config, options)
        with contextlib.redirect_stdout(io.StringIO()):
            register_from(cfg)
            check_settings(cfg)
            check_data(cfg, build_datamanager(cfg))


TOOLBOXES: dict[str, FastReID | Torchreid] = {"fastreid": FastReID(), "torchreid": Torchreid()}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, tuples as lists.

    >>> flat({"SEED": 0, "INPUT": {"SIZE": (2, 1)}})
    {'SEED': 0, 'INPUT.SIZE': [2, 1]}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + str(key)] = json.loads(json.dumps(value))
    return found
