"""What every test shares: the smallest generated data set, and one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oamn_plugin.environment import keep_freed_memory

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_freed_memory()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def embedded_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets that holds the generated one at its smallest size."""
    from oamn_plugin.datasets.embedded import ensure

    root = tmp_path_factory.mktemp("datasets")
    ensure(root, size="tiny")
    return root


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The cases of ``make torture`` as the table of docs/reliability.md."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for state in ("passed", "failed", "skipped"):
        for report in terminalreporter.getreports(state):
            if "torture" in getattr(report, "keywords", ()):  # a skipped module's report has none
                case = report.nodeid.split("::test_")[-1].replace("_", " ")
                seen = report.longrepr[2] if state == "skipped" else dict(report.user_properties).get("seen", "")
                alike.setdefault((case.split("[")[0], state, str(seen)), []).append(case)
    rows = [
        f"| {cases[0] if len(cases) == 1 else f'{name}, {len(cases)} cases'} | {state} | {seen} |"
        for (name, state, seen), cases in alike.items()
    ]
    if rows:
        terminalreporter.write_line("\n".join(["", "| case | outcome | seen |", "|---|---|---|", *rows]))
