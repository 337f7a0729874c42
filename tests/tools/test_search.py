"""tools/search.py: the evaluator's scores, the table, JSON and page, and every error as one line."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from search_runs import TOOLS, make_run, model_options, run_tool


@pytest.fixture(scope="module")
def world(embedded_root, tmp_path_factory):
    """A run folder, the embedded set and an index of its gallery."""
    folder = tmp_path_factory.mktemp("search")
    run = make_run(folder / "run", embedded_root)
    data = next(embedded_root.glob("OccludedPedestrians-tiny*"))
    result = run_tool("search.py", "index", data / "bounding_box_test", "--out", folder / "index", *model_options(run))
    assert result.code == 0, result.err
    return folder, run, data


def query(world, *arguments):
    folder, run, data = world
    return run_tool("search.py", "query", data / "query", "--index", folder / "index", *model_options(run), *arguments)


def test_scores_are_those_of_the_evaluator(world, tmp_path):
    from oamn_plugin.datasets.embedded import read_embedded
    from oamn_plugin.hosts.fastreid import load_config
    from oamn_plugin.hosts.fastreid.evaluator import OcclusionUnifiedEvaluator
    from oamn_plugin.hosts.fastreid.inference import without_training
    from oamn_plugin.hosts.fastreid.trainer import Trainer, load_weights

    _, run, data = world
    cfg = without_training(load_config(str(run / "config.yaml"), ["OUTPUT_DIR", str(tmp_path)]))
    model = Trainer.build_model(cfg)
    load_weights(model, str(run / "model_final.pth"))
    split = read_embedded(data)
    found = json.loads(query(world, "--json", "-", "--evaluate").out)["scores"]
    for kind, unified in (("unified", True), ("plain", False)):
        expected = OcclusionUnifiedEvaluator(cfg, "set", split.query, split.gallery, unified=unified).run(model)
        for key in ("Rank-1", "Rank-3", "Rank-5", "Rank-10", "Rank-20", "mAP", "mAP_trapezoid", "mINP", "num_query"):
            assert found[kind][key] == expected[key], (kind, key)
        assert found["unified"]["query_types"] == expected["query_types"]
    assert len(found["unified"]["query_types"]) > 1, "queries of one type only would say little"
    assert found["unified"]["mAP"] != found["plain"]["mAP"]


def test_weighted_unification_is_told_and_plain_matching_stays_plain(world, tmp_path):
    folder, run, data = world
    image = sorted((data / "query").glob("*.jpg"))[0]
    weighted = [*model_options(run), "--opts", "MODEL.OAMN.UNIFICATION", "weighted"]
    index = ["index", data / "bounding_box_test", "--out", tmp_path / "w", *weighted]
    assert "types: none" in run_tool("search.py", *index).out
    options = ["--json", tmp_path / "w.json", "--html", tmp_path / "w.html", "--topk", 5]
    result = run_tool("search.py", "query", image, "--index", tmp_path / "w", *options, *weighted)
    assert result.code == 0, result.err
    assert "occluded, as its mask is explained best" in result.out
    assert "compared in all nine ways" in (tmp_path / "w.html").read_text()
    (found,) = json.loads((tmp_path / "w.json").read_text())["queries"]
    assert found["searched_as"] == "weighted"
    options = ["--json", tmp_path / "t.json", "--topk", 5]
    assert run_tool("search.py", "query", image, "--index", folder / "index", *options, *model_options(run)).code == 0
    (typed,) = json.loads((tmp_path / "t.json").read_text())["queries"]
    assert [one["path"] for one in found["plain"]] == [one["path"] for one in typed["plain"]]
    expected = [one["distance"] for one in typed["plain"]]
    assert [one["distance"] for one in found["plain"]] == pytest.approx(expected, abs=1e-4)
    assert [one["distance"] for one in found["unified"]] != pytest.approx(expected, abs=1e-4)


def test_the_distance_to_oneself_is_zero_whatever_the_unification(world, tmp_path):
    _, run, data = world
    image = sorted((data / "bounding_box_test").glob("*.jpg"))[0]
    weighted = [*model_options(run), "--opts", "MODEL.OAMN.UNIFICATION", "weighted"]
    assert run_tool("search.py", "index", image, "--out", tmp_path / "w", *weighted).code == 0
    result = run_tool("search.py", "query", image, "--index", tmp_path / "w", "--json", "-", *weighted)
    (found,) = json.loads(result.out)["queries"]
    assert found["unified"][0]["distance"] == pytest.approx(0, abs=1e-4)
    assert found["plain"][0]["distance"] == pytest.approx(0, abs=1e-4)


def test_rank_one_can_be_counted_from_the_json(world, tmp_path):
    result = query(world, "--json", tmp_path / "r.json", "--evaluate", "--other-cameras", "--topk", 1)
    assert result.code == 0, result.err
    content = json.loads((tmp_path / "r.json").read_text())
    hits = [entry["unified"][0]["pid"] == entry["pid"] for entry in content["queries"]]
    assert 100 * sum(hits) / len(hits) == pytest.approx(content["scores"]["unified"]["Rank-1"])
    assert f"Rank-1 {content['scores']['unified']['Rank-1']:.2f} %" in result.out


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.classes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.sources += [values[key] for key in ("src", "href") if values.get(key)]
        self.classes += (values.get("class") or "").split()


def test_the_page_needs_nothing_else(world, tmp_path):
    result = query(world, "--html", tmp_path / "r.html", "--topk", 4, "--max-pages", 3)
    assert result.code == 0, result.err
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.classes.count("query") == 3
    assert page.classes.count("card") == 3 * 2 * 4
    assert page.classes.count("ranking") == 3 * 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert "url(" not in text
    assert "@import" not in text
    assert "strip" in page.classes
    assert re.search(r"(left|right|bottom|top) (half|quarter) covered", text)


def test_names_cannot_break_the_page(world, tmp_path):
    folder, run, data = world
    evil = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    shutil.copy(next((data / "query").glob("*.jpg")), evil)
    options = ["--index", folder / "index", "--html", tmp_path / "r.html", *model_options(run)]
    assert run_tool("search.py", "query", evil, *options).code == 0
    assert "<img src=x" not in (tmp_path / "r.html").read_text()


def test_tables_adding_and_unreadable_images(world, tmp_path):
    _, run, data = world
    shutil.copytree(data / "bounding_box_test", tmp_path / "gallery")
    names = sorted(path.name for path in (tmp_path / "gallery").iterdir())
    (tmp_path / "gallery" / names[0]).write_text("no image")
    lines = ["path,pid,camid,shop", *(f"gallery/{name},{name[:4]},{name[6]},north" for name in names)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    index = ["index", tmp_path / "list.csv", "--out", tmp_path / "i", "--types", "none", *model_options(run)]
    first = run_tool("search.py", *index)
    assert first.code == 0, first.err
    assert f"{len(names) - 1} images" in first.out
    assert f"1 images could not be read and are left out:\n  {tmp_path / 'gallery' / names[0]}" in first.out
    assert " 0 of them new" in run_tool("search.py", *index).out
    image = next((data / "query").glob("*.jpg"))
    shown = run_tool("search.py", "query", image, "--index", tmp_path / "i", *model_options(run), "--topk", 3)
    assert shown.code == 0, shown.err
    assert "shop" in shown.out
    assert shown.out.count("north") == 3
    removed = run_tool("search.py", "remove", tmp_path / "gallery" / names[1], "--index", tmp_path / "i")
    assert f"removed 1 images, {len(names) - 2} are left" in removed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["index", "{none}", "--out", "{tmp}/i"], "there is no folder, CSV file or image"),
        (["query", "{image}", "--index", "{none}", "+model"], "holds no image yet: run index first"),
        (["query", "{text}", "--index", "{index}", "+model"], "not an image of a known format"),
        (["query", "{image}", "--index", "{index}", "--weights", "w.pth"], "--weights needs --config-file too"),
        (["query", "{image}", "--index", "{index}", "+other"], "was built with another model"),
        (["index", "{data}", "--out", "{tmp}/i", "--approximate", "+model"], "pays from 1000 images"),
        (["remove", "{image}", "--index", "{none}"], "there is no gallery index"),
    ],
)
def test_errors_are_one_line(world, embedded_root, tmp_path, arguments, message):
    folder, run, data = world
    (tmp_path / "text.jpg").write_text("no image")
    places = {"none": tmp_path / "nowhere", "tmp": tmp_path, "image": next((data / "query").glob("*.jpg")),
              "text": tmp_path / "text.jpg", "index": folder / "index", "data": data / "query"}  # fmt: skip
    words: list[object] = []
    for word in arguments:
        if word == "+model":
            words += model_options(run)
        elif word == "+other":
            words += model_options(make_run(tmp_path / "other", embedded_root, seed=1))
        else:
            words.append(word.format(**places))
    result = run_tool("search.py", *words)
    assert result.code == 2
    assert not (tmp_path / "nowhere").exists()
    assert message in result.err
    assert len(result.err.strip().splitlines()) == 1, result.err


@pytest.mark.parametrize("tool", ["search.py", "visualize.py", "export.py", "app.py", "package_model.py"])
def test_help_is_quick_and_needs_no_torch(tool):
    code = "import sys, runpy; sys.argv = ['x', '--help']\n"
    code += f"try: runpy.run_path({str(TOOLS / tool)!r}, run_name='__main__')\n"
    code += "except SystemExit: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert result.stdout.strip().endswith("False")
