"""The notebook runs from its first cell to its last."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "search_and_training.ipynb"


def test_the_notebook_runs(
    embedded_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shells = pytest.importorskip("IPython.core.interactiveshell")
    monkeypatch.setenv("FASTREID_DATASETS", str(embedded_root))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells), "committed without outputs"
    shell = shells.InteractiveShell()  # here, not in a kernel, which would import everything anew
    for cell in cells:
        shell.run_cell("".join(cell["source"])).raise_error()
    assert "Rank-1" in capsys.readouterr().out
