from __future__ import annotations

import contextlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from run_folders import make_run, make_truth

from oamn_plugin.reporting.compare import write_comparison
from oamn_plugin.reporting.page import Picture
from oamn_plugin.reporting.pictures import png

EVIL = "<script>alert('x')</script> & co"
PARTS = ["Scores on Streets", "Against bagtricks", "Ablation", "By true side and area", "CMC curves", "Training curves"]
PARTS += ["Cost", "Settings", "What is missing"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], str]:
    root = tmp_path_factory.mktemp("comparison")
    paths = make_truth(root / "data", 80)
    skills = {"bagtricks": 0.4, "OAMN": 0.7, "no mask": 0.5, EVIL: 0.45}
    folders = {
        name: [make_run(root / f"m{number}" / f"seed{seed}", paths, skill, seed) for seed in range(2)]
        for number, (name, skill) in enumerate(skills.items())
    }
    picture = Picture("ranks", "rank lists", png(np.zeros((8, 4, 3), dtype=np.uint8)))
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        found = write_comparison(
            folders, root / "report", "bagtricks", "A comparison", [picture], ablation=[["OAMN", "no mask"]],
            settings={EVIL: "python x"}, notes=["OSNet, seed 1: failed"],
        )  # fmt: skip
    return found, stream.getvalue()


class Links(HTMLParser):
    """Collects what a page loads, and which tags it opens and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.anchors: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "href") and value:
                (self.anchors.add(value[1:]) if value.startswith("#") else self.loads.append(value))
            if name == "id" and value:
                self.ids.add(value)


def test_page_is_one_file_that_loads_nothing(written: tuple[dict[str, Path], str]) -> None:
    text = written[0]["html"].read_text(encoding="utf-8")
    page = Links()
    page.feed(text)
    assert page.loads
    assert all(link.startswith("data:image/") for link in page.loads)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert not re.search(r"url\(|@import", text)
    assert page.anchors <= page.ids


def test_page_shows_every_part(written: tuple[dict[str, Path], str]) -> None:
    text = written[0]["html"].read_text(encoding="utf-8")
    for title in PARTS:
        assert title in text, title
    assert text.index('<section id="example">') < text.index('<section id="scores-on-streets">')
    assert "OSNet, seed 1: failed" in text
    assert EVIL not in text


def test_ablation_variants_stay_out_of_the_main_table(written: tuple[dict[str, Path], str]) -> None:
    text = written[0]["markdown"].read_text(encoding="utf-8")
    main, ablation = text.split("## Ablation")[0], text.split("## Ablation")[1]
    assert "no mask" not in main
    assert "no mask" in ablation


def test_other_formats_hold_every_method(written: tuple[dict[str, Path], str]) -> None:
    scores = json.loads(written[0]["json"].read_text(encoding="utf-8"))["data_sets"]["Streets"]
    assert set(scores) == {"bagtricks", "OAMN", "no mask", EVIL}
    assert scores["OAMN"]["Rank-1"]["against_baseline"]["points"] > 10
    assert written[0]["csv"].read_text(encoding="utf-8").count("\n") == 5
    assert "\\begin{tabular}" in written[0]["latex"].read_text(encoding="utf-8")


def test_markdown_pictures_exist(written: tuple[dict[str, Path], str]) -> None:
    folder = written[0]["markdown"].parent
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", written[0]["markdown"].read_text(encoding="utf-8"))
    assert len(pictures) > 5
    assert all((folder / name).is_file() for name in pictures)


def test_terminal_shows_the_finding_and_the_table(written: tuple[dict[str, Path], str]) -> None:
    assert "OAMN reaches" in written[1]
    assert "more than the choice of queries explains" in written[1]
    assert "mAP (trapezoid)" in written[1]


def test_single_run_without_queries_still_gives_a_report(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text('{"Market1501": {"Rank-1": 80.0, "mAP": 60.5}}')
    found = write_comparison({"only": [tmp_path / "run"]}, tmp_path / "out", "only")
    text = found["html"].read_text(encoding="utf-8")
    assert "80.0" in text
    assert "no scores by query" in text


def one_seed(root: Path, methods: int = 2) -> tuple[str, str]:
    """The page and the terminal's text of methods with one run each."""
    paths, stream = make_truth(root / "data", 80), io.StringIO()
    folders = {f"m{i}": [make_run(root / f"m{i}", paths, (0.2, 0.9)[i])] for i in range(methods)}
    with contextlib.redirect_stdout(stream):
        found = write_comparison(folders, root / "report", "m0")
    return found["html"].read_text(encoding="utf-8"), stream.getvalue()


def test_one_seed_was_called_significant(tmp_path: Path) -> None:
    page, told = one_seed(tmp_path)
    assert "points; one seed says nothing about trainings." in told
    assert "choice of queries" not in told + page
    assert page.count("one seed says nothing about trainings") == 3  # the lead, a tile, the table of differences


def test_one_protocol_was_counted_as_1_protocols(tmp_path: Path) -> None:
    page, _ = one_seed(tmp_path, methods=1)
    assert "1 run, 1 protocol<" in page
    assert not re.search(r"\b1 (runs|protocols|methods)", page)


def test_curves_of_one_point_or_of_zeros_were_empty_panels(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_truth(tmp_path / "data", 20))
    lines = [{"iteration": i, "total_loss": 1 / (i + 1), "loss_position": 0.0} for i in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in [*lines, {"iteration": 3, "validation_mAP": 9.0}])
    (run / "metrics.json").write_text(text)
    found = write_comparison({"only": [run]}, tmp_path / "out", "only")
    drawn = (found["html"].parent / "figures" / "training.svg").read_text(encoding="utf-8")
    assert "total loss" in drawn
    assert "position loss" not in drawn
    assert "validation mAP" not in drawn
    (run / "metrics.json").write_text(json.dumps({"iteration": 3, "total_loss": 9.0}))
    found = write_comparison({"only": [run]}, tmp_path / "again", "only")
    assert "Training curves" not in found["html"].read_text(encoding="utf-8")


def test_no_other_data_stands_below_a_users_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ["/q/1.jpg", "/q/2.jpg"], data_sets=("CustomReID",))
    found = write_comparison({"mine": [run]}, tmp_path / "out", "mine")
    page = found["html"].read_text(encoding="utf-8")
    titles = re.findall("<h2>(.*?)</h2>", page)
    assert titles == ["Scores on CustomReID", "CMC curves", "Training curves", "Cost"]
    assert "ublished" not in page
