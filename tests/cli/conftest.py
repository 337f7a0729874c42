"""What the commands that search share: one run folder and one index of its gallery."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_tool import run_tool
from search_runs import make_run, model_options


@pytest.fixture(scope="session")
def world(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A folder with an ``index`` of the generated gallery, the run folder whose model made it, and the data set."""
    folder = tmp_path_factory.mktemp("search")
    run = make_run(folder / "run", embedded_root)
    data = next(embedded_root.glob("OccludedPedestrians-tiny*"))
    result = run_tool("search.py", "index", data / "bounding_box_test", "--out", folder / "index", *model_options(run))
    assert result.code == 0, result.err
    return folder, run, data
