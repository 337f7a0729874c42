"""The generated set's occluders as a folder of cut-outs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oamn_plugin.datasets.cutouts import write_cutouts
from oamn_plugin.datasets.embedded.occluders import KINDS


def test_cutouts_are_rgba_and_reach_to_their_edges(tmp_path: Path) -> None:
    folder = write_cutouts(tmp_path / "new" / "objects", 4, seed=1)
    files = sorted(folder.glob("*.png"))
    assert {path.stem.split("_")[1] for path in files} == {"left", "right", "bottom", "top"}
    for path in files:
        assert path.stem.split("_")[0] in KINDS
        alpha = np.asarray(Image.open(path))[..., 3]
        assert all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        assert (alpha == 255).mean() > 0.2
    assert "must never be tested on the generated data set" in (folder / "README.txt").read_text()
    again = write_cutouts(tmp_path / "again", 4, seed=1)
    assert [(again / path.name).read_bytes() for path in files] == [path.read_bytes() for path in files]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError, match="is there already"):
        write_cutouts(tmp_path, 1)
    with pytest.raises(ValueError, match="at least 1"):
        write_cutouts(tmp_path / "none", 0)
