"""Runs a command of tools/ in this process."""

from __future__ import annotations

import contextlib
import io
import runpy
from pathlib import Path
from typing import NamedTuple

TOOLS = Path(__file__).parents[2] / "tools"


class Result(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str


def run_tool(name: str, *arguments: object) -> Result:
    """Calls ``main`` of a command: torch is imported once."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = runpy.run_path(str(TOOLS / name))["main"]([str(argument) for argument in arguments])
    return Result(code, out.getvalue(), err.getvalue())
