"""The toolboxes as a benchmark suite needs them: the values of a configuration, and whether it would work."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from oamn_plugin.configurations import flat


class Host(NamedTuple):
    """A toolbox by the name of its adapter, which is imported on first use."""

    name: str

    def resolve(self, config: str, options: Sequence[str]) -> dict[str, Any]:
        """Every key with its value, the preset's options in full; tuples as lists."""
        host = importlib.import_module(f"oamn_plugin.hosts.{self.name}.config")
        return json.loads(json.dumps(flat(host.resolved(host.load_config(config, options)))))

    def check(self, config: str, options: Sequence[str], train: bool) -> None:
        """The checks of ``oamn train`` before a training; without ``train``, before a test, but not of its weights."""
        host = importlib.import_module(f"oamn_plugin.hosts.{self.name}.preflight")
        with contextlib.redirect_stdout(io.StringIO()):  # the tables of every method
            host.check_configuration(config, options, train)


TOOLBOXES = {name: Host(name) for name in ("fastreid", "torchreid")}
