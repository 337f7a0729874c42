from __future__ import annotations

from pathlib import Path

import numpy as np
from run_folders import make_truth

from oamn_plugin.occlusion import SIDES
from oamn_plugin.reporting.occlusions import AREA_EDGES, Occlusion, read_occlusions, score_map


def test_truth_is_found_beside_the_images(tmp_path: Path) -> None:
    paths = make_truth(tmp_path / "data", 20)
    found = read_occlusions([*paths, str(tmp_path / "elsewhere" / "q" / "1.jpg")])
    assert all(one is not None and one.side in SIDES and 0.2 <= one.area <= 0.65 for one in found[:-1])
    assert found[-1] is None


def test_map_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    truth = [Occlusion(str(rng.choice([*SIDES, "none"])), float(rng.uniform(0, 1))) for _ in range(300)]
    scores = rng.random(300)
    means, counts = score_map(scores, [*truth[:-1], None])
    for row, side in enumerate(SIDES):
        for column in range(4):
            low, high = AREA_EDGES[column : column + 2]
            cell = [s for s, t in zip(scores[:-1], truth[:-1], strict=True) if t.side == side and low <= t.area < high]
            assert counts[row, column] == len(cell)
            assert np.isclose(means[row, column], np.mean(cell))


def test_foreign_annotations_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("a,b\n1,2\n")
    assert read_occlusions([str(tmp_path / "1.jpg")]) == [None]


def test_a_long_field_or_no_text_in_annotations_ended_the_report(tmp_path: Path) -> None:
    for number, text in enumerate(
        [b"file,side,area_fraction\n" + b"x" * 200_000, b"file,side,area_fraction\n\xff\xfe,left,0.5\n"]
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "annotations.csv").write_bytes(text)
        assert read_occlusions([str(tmp_path / str(number) / "a.jpg")]) == [None]
