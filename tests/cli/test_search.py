"""tools/search.py: the evaluator's scores, the table, JSON and page, and every error as one line."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
import signal

import pytest
from index_crops import make_crops
from run_tool import run_tool, start_tool
from search_runs import make_run, model_options

from oamn_plugin.cli.search import main
from oamn_plugin.errors import ExpectedError
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.milvus_index import MilvusIndex


def query(world, *arguments):
    folder, run, data = world
    return run_tool("search.py", "query", data / "query", "--index", folder / "index", *model_options(run), *arguments)


def test_scores_are_those_of_the_evaluator(world, tmp_path):
    from oamn_plugin.datasets.embedded import read_embedded
    from oamn_plugin.hosts.fastreid import load_config
    from oamn_plugin.hosts.fastreid.evaluator import OcclusionUnifiedEvaluator
    from oamn_plugin.hosts.fastreid.inference import without_training
    from oamn_plugin.hosts.fastreid.trainer import Trainer
    from oamn_plugin.hosts.shared.weights import load_weights

    _, run, data = world
    cfg = without_training(load_config(str(run / "config.yaml"), ["OUTPUT_DIR", str(tmp_path)]))
    model = Trainer.build_model(cfg)
    load_weights(model, str(run / "model_final.pth"))
    split = read_embedded(data)
    matched = query(
        world, "--json", "-", "--evaluate", "--unification", "matched", "--blank", "image", "--fill", "black"
    )
    found = json.loads(query(world, "--json", "-", "--evaluate").out)["scores"]
    found["matched"] = json.loads(matched.out)["scores"]["unified"]
    cfg.defrost()
    for kind, unification in (("unified", "typed"), ("plain", "none"), ("matched", "matched")):
        cfg.TEST.UNIFICATION = unification
        if kind == "matched":
            cfg.TEST.BLANK, cfg.TEST.FILL = "image", "black"
        expected = OcclusionUnifiedEvaluator(cfg, "set", split.query, split.gallery).run(model)
        for key in ("Rank-1", "Rank-3", "Rank-5", "Rank-10", "Rank-20", "mAP", "mAP_trapezoid", "mINP", "num_query"):
            assert found[kind][key] == expected[key], (kind, key)
        if kind == "unified":
            assert found[kind]["query_types"] == expected["query_types"]
    assert len(found["unified"]["query_types"]) > 1, "queries of one type only would say little"
    assert len({found[kind]["mAP"] for kind in ("unified", "plain", "matched")}) == 3


def test_matched_unification_is_told_and_plain_matching_stays_plain(world, tmp_path):
    folder, run, data = world
    image = sorted((data / "query").glob("*.jpg"))[0]
    matched = [*model_options(run), "--unification", "matched", "--blank", "image", "--fill", "black"]
    options = ["--index", folder / "index", "--json", tmp_path / "m.json", "--html", tmp_path / "m.html", "--topk", 5]
    result = run_tool("search.py", "query", image, *options, *matched)
    assert result.code == 0, result.err
    assert "matched over nine types" in result.out
    assert "every gallery image compared with each part covered" in (tmp_path / "m.html").read_text()
    (found,) = json.loads((tmp_path / "m.json").read_text())["queries"]
    assert found["searched_as"] == "matched"
    options = ["--json", tmp_path / "t.json", "--topk", 5]
    assert run_tool("search.py", "query", image, "--index", folder / "index", *options, *model_options(run)).code == 0
    (typed,) = json.loads((tmp_path / "t.json").read_text())["queries"]
    assert found["plain"] == typed["plain"]
    assert [one["distance"] for one in found["unified"]] != [one["distance"] for one in found["plain"]]


def test_the_model_need_not_be_named_again(world, tmp_path):
    folder, _, data = world
    image = sorted((data / "query").glob("*.jpg"))[0]
    named = query(world, "--json", "-")
    options = ["--index", folder / "index", "--json", "-"]
    assert run_tool("search.py", "query", data / "query", *options).out == named.out
    shutil.copytree(folder / "index", tmp_path / "index")
    header = json.loads((tmp_path / "index" / "index.json").read_text())
    header["model"]["source"]["weights"] = str(tmp_path / "gone.pth")
    (tmp_path / "index" / "index.json").write_text(json.dumps(header))
    result = run_tool("search.py", "query", image, "--index", tmp_path / "index")
    assert (result.code, len(result.err.strip().splitlines())) == (2, 1)
    assert "is no longer at" in result.err


def test_another_kind_of_unification_keeps_what_the_descriptors_depend_on(world, tmp_path):
    _, run, data = world
    options = ["--out", tmp_path / "i", *model_options(run), "--unification", "matched", "--blank", "image"]
    assert run_tool("search.py", "index", data / "bounding_box_test", *options, "--fill", "mean").code == 0
    shutil.copy(sorted((data / "query").glob("*.jpg"))[0], tmp_path / "snapshot.jpg")
    options = ["--index", tmp_path / "i", "-k", 3, "--other-cameras"]
    for kind in ("none", "typed"):
        result = run_tool("search.py", "query", tmp_path / "snapshot.jpg", *options, "--unification", kind)
        assert result.code == 0, result.err
        assert "--other-cameras has no effect on 1 of 1 queries" in result.err
    assert "plain matching" in run_tool("search.py", "query", data / "query", *options, "--unification", "none").out


@pytest.mark.parametrize("built", ["none", "typed"])
def test_an_index_that_was_built_otherwise_is_matched_as_the_model_says(world, tmp_path, built):
    """It was matched with strips, temperature and prior that the model was never tuned for."""
    _, _, data = world
    for number, path in enumerate(sorted((data / "bounding_box_test").glob("*.jpg"))[:3]):
        (tmp_path / "crops").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "crops" / f"{number}.jpg")
    found = {}
    for kind in (built, "matched"):
        index = tmp_path / f"{kind}.index"
        words = ["--unification", kind, *(["--blank", "image", "--fill", "mean"] if kind == "typed" else [])]
        assert run_tool("search.py", "index", tmp_path / "crops", "--out", index, *words).code == 0
        words = ["--index", index, "--unification", "matched", "--json", tmp_path / f"{kind}.json"]
        result = run_tool("search.py", "query", tmp_path / "crops" / "0.jpg", *words)
        assert result.code == 0, result.err
        found[kind] = json.loads((tmp_path / f"{kind}.json").read_text())
    assert found[built]["model"] == found["matched"]["model"]
    assert found[built]["queries"] == found["matched"]["queries"]


def test_a_gallery_in_milvus_is_searched_without_naming_the_model_and_calibrated(world, tmp_path):
    pytest.importorskip("milvus_lite")
    _, run, data = world
    place = f"milvus://{tmp_path}/gallery.db"
    options = ["--types", "none", "--unification", "none", *model_options(run)]
    assert run_tool("search.py", "index", data / "bounding_box_test", "--out", place, *options).code == 0
    result = run_tool("search.py", "calibrate", "--index", place, "--false-match-rate", 0.2)
    assert result.code == 0, result.err
    shown = run_tool("search.py", "query", data / "query", "--index", place, "--json", tmp_path / "r.json")
    assert shown.code == 0, shown.err
    assert "plain matching" in shown.out
    assert "nobody" in json.loads((tmp_path / "r.json").read_text())["queries"][0]


def test_names_without_identities_are_not_scored_a_hundred_percent(world, tmp_path):
    _, run, data = world
    for part in ("query", "bounding_box_test"):
        (tmp_path / part).mkdir()
        for number, path in enumerate(sorted((data / part).glob("*.jpg"))[:4]):
            shutil.copy(path, tmp_path / part / (path.name if number == 3 else f"image{number}.jpg"))
    index = ["index", tmp_path / "bounding_box_test", "--out", tmp_path / "i", "--types", "none", *model_options(run)]
    assert "4 images, 4 of them new, identities of 1 known" in run_tool("search.py", *index).out
    built = sorted((tmp_path / "i").rglob("*"))
    result = run_tool("search.py", "query", tmp_path / "query", "--index", tmp_path / "i", "--evaluate")
    assert result.code == 2
    assert sorted((tmp_path / "i").rglob("*")) == built, "types were described before the refusal"
    assert "identities are known of 1 of 4 query images and 1 of 4 gallery images" in result.err
    assert "100" not in result.out


def search(*words):
    """The command in this process."""
    assert main([str(word) for word in words]) == 0


def refuse(*_, **__):
    raise AssertionError("the refusal came too late")


def test_queries_without_a_match_are_refused_before_anything_is_described(tmp_path, monkeypatch):
    """They were described, and so was the gallery, for eight further types."""
    crops = make_crops(tmp_path / "crops", 8)
    for path in crops:
        path.unlink() if "_c1" in path.name else None
    search("index", tmp_path / "crops", "--out", tmp_path / "i", "--types", "none")
    built = sorted((tmp_path / "i").rglob("*"))
    monkeypatch.setattr(ImageEncoder, "queries", refuse)
    with pytest.raises(ExpectedError, match="cannot score these queries: none of the 4 queries has a match: no query"):
        search("query", tmp_path / "crops", "--index", tmp_path / "i", "--evaluate")
    assert sorted((tmp_path / "i").rglob("*")) == built


def test_a_collection_in_milvus_is_scanned_no_more_often_than_needed(tmp_path, monkeypatch, capsys):
    """It was once for each unreadable image, and before scores were refused."""
    pytest.importorskip("milvus_lite")
    place, scans, scan = f"milvus://{tmp_path}/gallery.db", [], MilvusIndex._rows
    crops = make_crops(tmp_path / "crops", 8)
    words = ["index", tmp_path / "crops", "--out", place, "--types", "none", "--unification", "none"]
    search(*words)
    crops[0].unlink()
    for number in range(3):
        (tmp_path / "crops" / f"bad{number}.png").write_text("no image")
    monkeypatch.setattr(MilvusIndex, "_rows", lambda self, *args: scans.append(args) or scan(self, *args))
    search(*words)
    shown = capsys.readouterr().out
    assert f"1 files are gone, such as {crops[0]}" in shown
    assert "3 images could not be read" in shown
    assert len(scans) == 3
    scans.clear()
    monkeypatch.setattr(ImageEncoder, "queries", refuse)
    with pytest.raises(ExpectedError, match="scores need an index in a folder"):
        search("query", crops[1], "--index", place, "--evaluate")
    assert not scans


def test_one_corrupt_query_does_not_stop_the_batch(world, tmp_path):
    folder, _, data = world
    (tmp_path / "broken.jpg").write_text("no image")
    image = sorted((data / "query").glob("*.jpg"))[0]
    result = run_tool("search.py", "query", tmp_path, image, "--index", folder / "index", "--json", tmp_path / "r.json")
    assert result.code == 0
    assert f"left out {tmp_path / 'broken.jpg'}: not an image" in result.err
    content = json.loads((tmp_path / "r.json").read_text())
    assert [entry["query"] for entry in content["queries"]] == [str(image)]
    assert list(content["unreadable"]) == [str(tmp_path / "broken.jpg")]


def test_strangers_are_answered_with_nobody(world, tmp_path):
    folder, run, data = world
    shutil.copytree(folder / "index", tmp_path / "index")
    options = ["--index", tmp_path / "index"]
    result = run_tool("search.py", "calibrate", data / "query", *options, "--false-match-rate", 0.2)
    assert result.code == 0, result.err
    assert "20 % false matches, from" in result.out
    found = json.loads(run_tool("search.py", "query", data / "query", *options, "--json", "-").out)
    limit = found["threshold"]["distance"]
    assert [one["nobody"] for one in found["queries"]] == [
        one["unified"][0]["distance"] > limit for one in found["queries"]
    ]
    other = run_tool("search.py", "query", data / "query", *options, *model_options(run), "--unification", "none")
    assert "is not used, it was calibrated with kind typed (now none): run calibrate again" in other.err


def test_an_interrupted_build_is_told(world, tmp_path):
    folder, _, data = world
    shutil.copytree(folder / "index", tmp_path / "index")
    (tmp_path / "index" / "pending").mkdir()
    plan = {"images": [], "types": [], "new": True, "removed": []}
    (tmp_path / "index" / "pending" / "plan.json").write_text(json.dumps(plan))
    result = run_tool("search.py", "query", next((data / "query").glob("*.jpg")), "--index", tmp_path / "index")
    assert "is pending: run index again" in result.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_index_ends_with_75_and_goes_on(world, tmp_path, number):
    _, run, data = world
    words = ["index", data / "bounding_box_test", "--out", tmp_path / "i", *model_options(run)]
    running = start_tool(tmp_path, "search.py", *words)
    while not (tmp_path / "i" / "pending" / "plan.json").exists() and running.alive:
        pass
    running.send(number)
    stopped = running.result()
    assert stopped.code == 75, stopped.err
    assert "run again" in stopped.err
    result = run_tool("search.py", *words)
    assert result.code == 0, result.err


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


def test_the_terminal_showed_ten_matches_whatever_was_asked_for(world):
    folder, _, data = world
    image = next((data / "query").glob("*.jpg"))
    shown = run_tool("search.py", "query", image, "--index", folder / "index", "--topk", 13)
    assert re.findall(r"^(\d+) ", shown.out, re.M) == [str(rank) for rank in range(1, 14)]


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
    assert f"{len(names) - 1} images, {len(names) - 1} of them new, identities of {len(names) - 1} known" in first.out
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
        (
            ["query", "{image}", "--index", "{none}", "+model"],
            "command index. Did you mean 'nowhere-else'?",
        ),
        (["query", "{text}", "--index", "{index}", "+model"], "not an image of a known format"),
        (
            ["query", "{image}", "--index", "{index}", "--weights", "w.pth"],
            "there is no file w.pth, nor",
        ),
        (["query", "{image}", "--index", "{index}", "--topk", "0"], "--topk must be at least 1, got 0"),
        (["query", "{image}", "--index", "{index}", "--topk", "-3"], "--topk must be at least 1, got -3"),
        (["query", "{image}", "--index", "{none}", "--html", "{tmp}/no/r.html"], "No such file or directory"),
        (["query", "{image}", "--index", "{none}", "--json", "{tmp}"], "Is a directory"),
        (["calibrate", "--index", "{index}"], "cannot tell a false-match rate of 0.01"),
        (["remove", "{image}", "--index", "{index}"], "nothing was removed"),
        (["query", "{image}", "--index", "{index}", "+other"], "was built with another model"),
        (["index", "{data}", "--out", "{tmp}/i", "--approximate", "+model"], "pays from 1000 images"),
        (["remove", "{image}", "--index", "{none}"], "there is no gallery index"),
    ],
)
def test_errors_are_one_line(world, embedded_root, tmp_path, arguments, message):
    folder, run, data = world
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "nowhere-else").symlink_to(folder / "index")
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
