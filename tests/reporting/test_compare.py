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
TITLES = [
    "Scores on Streets",
    "Against bagtricks",
    "What each part gives",
    "The mask",
    "By true side and area",
    "CMC curves",
    "Training curves",
]
TITLES += ["Cost", "Settings", "What is missing"]


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
            folders, root / "report", "bagtricks", "A comparison", [picture], parts={"The mask": [("OAMN", "no mask")]},
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
    for title in TITLES:
        assert title in text, title
    assert text.index('<section id="example">') < text.index('<section id="scores-on-streets">')
    assert "OSNet, seed 1: failed" in text
    assert EVIL not in text


def test_a_part_is_answered_in_every_format(written: tuple[dict[str, Path], str]) -> None:
    page, text, latex = (written[0][kind].read_text(encoding="utf-8") for kind in ("html", "markdown", "latex"))
    assert "<li><strong>The mask: a gain beyond chance in 2 of 2 comparisons, +" in page
    assert "- **The mask: a gain beyond chance in 2 of 2 comparisons, +" in text
    assert "never counts" in page
    assert "never counts" in text
    assert "OAMN against no mask: Rank-1 on Streets +" in page
    assert "\\caption{The mask}" in latex
    assert "OAMN" in latex.split("\\caption{The mask}")[1]


def test_other_formats_hold_every_method(written: tuple[dict[str, Path], str]) -> None:
    assert written[0]["csv"].read_text(encoding="utf-8").count("\n") == 5
    assert "\\begin{tabular}" in written[0]["latex"].read_text(encoding="utf-8")


def test_the_page_and_its_plots_are_light_alone(written: tuple[dict[str, Path], str]) -> None:
    text = written[0]["html"].read_text(encoding="utf-8")
    assert '<meta name="color-scheme" content="light">' in text
    assert "<picture>" not in text


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


def one_seed(root: Path) -> tuple[str, str]:
    """The page and the terminal's text of two methods with one run each."""
    paths, stream = make_truth(root / "data", 80), io.StringIO()
    folders = {f"m{i}": [make_run(root / f"m{i}", paths, (0.2, 0.9)[i])] for i in range(2)}
    with contextlib.redirect_stdout(stream):
        found = write_comparison(folders, root / "report", "m0")
    return found["html"].read_text(encoding="utf-8"), stream.getvalue()


def test_one_seed_was_called_significant(tmp_path: Path) -> None:
    page, told = one_seed(tmp_path)
    assert "points; one seed says nothing about trainings." in told
    assert "choice of queries" not in told + page
    assert page.count("one seed says nothing about trainings") == 2  # the lead, the table of differences


def test_the_sentence_about_one_seed_stood_beside_tests_of_the_same_weights_too(tmp_path: Path) -> None:
    paths, skills = make_truth(tmp_path / "data", 80), {"plain": 0.2, "matched": 0.9, "other": 0.5}
    folders = {name: [make_run(tmp_path / name, paths, skill)] for name, skill in skills.items()}
    found = write_comparison(folders, tmp_path / "out", "plain", trained_as={"matched": "plain"})
    text = found["markdown"].read_text(encoding="utf-8")
    assert "A difference between two single trainings (Seeds: 1) is no finding" in text
    assert re.search(r"\| matched .*\| 1, same weights \|", text)
    assert re.search(r"\| other .*\| 1 +\|", text)
    del folders["other"]
    found = write_comparison(folders, tmp_path / "out", "plain", trained_as={"matched": "plain"})
    assert "single trainings" not in found["markdown"].read_text(encoding="utf-8")


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
