"""50 hostile texts and names: YAML, JSON, CSV. Each is read as data or is one message, soon, and no code runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from index_crops import make_crops, make_encoder

from oamn_plugin.benchmark.schedule import RECORD, read_record
from oamn_plugin.benchmark.suite import load_suite
from oamn_plugin.datasets.custom import read_custom
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.encoder import host_of_config
from oamn_plugin.hosts.fastreid.config import load_config as load_fastreid
from oamn_plugin.hosts.shared.checkpoint import load_newest, step_files
from oamn_plugin.hosts.shared.run_folder import trim_metrics
from oamn_plugin.hosts.torchreid.config import load_config as load_torchreid
from oamn_plugin.reporting.occlusions import read_occlusions
from oamn_plugin.reporting.runs import read_run
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex

pytestmark = [pytest.mark.slow, pytest.mark.torture]
LAUGHS = "&a0 [x, x]"
for level in range(1, 30):
    LAUGHS = f"&a{level} [{LAUGHS}{f', *a{level - 1}' * 8}]"
YAML = {
    "laughs": f"MODEL: {LAUGHS}\nmodel: *a29\nmethods: *a29\noutput: *a29\nbaseline: *a29\n",
    "laughs in a value": f"SOLVER: {{STEPS: {LAUGHS}}}\noutput: x\nbaseline: x\nmethods: [{{name: *a29}}]\n",
    "torchreid laughs": f"train: {{stepsize: {LAUGHS}}}\n",
    "a loop": "MODEL: &m {OAMN: *m}\nmodel: &n {name: *n}\nmethods: &l [*l]\noutput: o\nbaseline: b\n",
    "brackets": "[" * 50_000,
    "braces": "A: " + "{a: " * 5_000,
    "python": "MODEL: !!python/object/apply:os.mkdir [proof]\n",
    "python name": "MODEL: !!python/name:os.system ''\n",
    "a key that is a list": "? [a, b]\n: c\n",
    "a key that is a map": "? {a: b}\n: c\n",
    "merge keys": "<<: [1, 2]\nMODEL: 3\n",
    "numbers": "SEED: 1e999\ntrain: {seed: .nan}\n",
    "a huge number": "SEED: " + "9" * 5000 + "\n",
    "a date": "SEED: 2026-99-99\n",
    "base is a list": "_BASE_: [a, b]\n",
    "base is itself": "_BASE_: text.yml\n",
    "base is a device": "_BASE_: /dev/null\n",
    "null bytes": "MODEL: \0\n",
    "a bell": "MODEL: \x07\x1b[2J\n",
    "surrogates": 'MODEL: "\\ud800"\n',
    "two documents": "A: 1\n---\nB: 2\n",
    "tabs": "MODEL:\n\tOAMN: 1\n",
    "empty": "",
}
JSON = {
    "brackets": "[" * 100_000,
    "objects": '{"a":' * 50_000,
    "nan": '{"fingerprint": NaN, "finished": NaN, "seconds": Infinity, "tested": [NaN]}',
    "wrong kinds": '{"finished": [], "seconds": {}, "tested": 3, "weights": {}}',
    "a list": "[1, 2]",
    "text": '"x"',
    "a huge number": '{"seconds": 1' + "0" * 5000 + "}",
    "surrogates": '{"Streets": {"Rank-1": "\\ud800"}}',
    "escapes": '{"\\u001b[2J": {"Rank-1": 1}}',
    "half": '{"finished": tr',
    "nothing": "",
    "bytes": "\x00\x01",
}
CSV = {
    "a long field": "path,pid,camid,split\n" + "x" * 200_000 + ",1,1,train\n",
    "quotes": 'path,pid,camid,split\n"a,1,1,train\n' * 3,
    "null bytes": "path,pid,camid,split\na\0b,1,1,train\n",
    "huge labels": "path,pid,camid,split\na.jpg," + "9" * 5000 + ",1,train\n",
    "a label of digits of elsewhere": "path,pid,camid,split\na.jpg,\u0661\u0662,1,train\n",
    "no label": "path,pid,camid,split\na.jpg,,,train\n",
    "too many cells": "path,pid,camid,split\na.jpg,1,1,train,x,y,z\n",
    "the same column twice": "path,pid,pid,camid,split\na.jpg,1,2,1,train\n",
    "paths outside": "path,pid,camid,split\n../../etc/passwd,1,1,train\n/dev/zero,1,1,query\n",
    "formulas": "path,pid,camid,split\n=cmd|x,1,1,train\n",
    "a split of no name": "path,pid,camid,split\na.jpg,1,1,\x1b[2J\n",
    "returns": "path,pid,camid,split\r\ra.jpg,1,1,train\r",
    "a mark of byte order": "\ufeffpath,pid,camid,split\na.jpg,1,1,train\n",
    "only a head": "path,pid,camid,split\n",
    "nothing": "",
}
assert len(YAML) + len(JSON) + len(CSV) == 50


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index")
    make_crops(root / "crops", 8)
    GalleryIndex(root / "index", make_encoder()).add(read_gallery(root / "crops"), ["none"])
    return root / "index"


class Tried:
    """Calls readers and counts what they did; whatever is no expected error fails the test."""

    def __init__(self, see: Callable[[str, object], None]) -> None:
        self.read, self.refused, self.see = 0, 0, see

    def __call__(self, reader: Callable[[], object]) -> None:
        told = ""
        try:
            reader()
            self.read += 1
        except ExpectedError as error:
            told = str(error)
            self.refused += 1
        self.see("seen", f"{self.refused} refused, {self.read} read as data")
        assert len(told) < 5000
        assert all(line.isprintable() for line in told.split("\n"))


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Tried:
    return Tried(record_property)


@pytest.mark.parametrize("name", YAML)
def test_yaml(name: str, tried: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "text.yml"
    path.write_bytes(YAML[name].encode("utf-8", "surrogatepass"))
    for reader in (load_fastreid, load_torchreid, load_suite, host_of_config):
        tried(lambda reader=reader: reader(str(path)))
    run = tmp_path / "run"
    run.mkdir()
    path.rename(run / "config.yaml")
    tried(lambda: read_run(run))
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", JSON)
def test_json(name: str, tried: Tried, index: Path, tmp_path: Path) -> None:
    for file in ("results.json", "metrics.json", "cost.json", RECORD):
        (tmp_path / file).write_text(JSON[name])
    tried(lambda: read_run(tmp_path))
    tried(lambda: read_record(tmp_path))
    tried(lambda: trim_metrics(tmp_path, "iteration", 1))
    for path in index.rglob("*.json"):
        whole = path.read_bytes()
        path.write_text(JSON[name])
        tried(lambda: len(GalleryIndex(index).images))
        path.write_bytes(whole)


@pytest.mark.parametrize("name", CSV)
def test_csv(name: str, tried: Tried, tmp_path: Path) -> None:
    for file in ("images.csv", "annotations.csv"):
        (tmp_path / file).write_bytes(CSV[name].encode("utf-8", "surrogatepass"))
    tried(lambda: read_custom(str(tmp_path), csv_file=str(tmp_path / "images.csv")))
    truth = "file,side,area_fraction\n" + CSV[name].split("\n", 1)[-1]
    (tmp_path / "annotations.csv").write_bytes(truth.encode("utf-8", "surrogatepass"))
    tried(lambda: read_occlusions([str(tmp_path / "a.jpg")]))


def test_names_of_checkpoints(tried: Tried, tmp_path: Path) -> None:
    names = [
        "step_1.pth",
        "step_-1.pth",
        "step_" + "9" * 200 + ".pth",
        "step_\u0661.pth",
        "step_00000001.pth.tmp",
        "step_.pth",
    ]
    for name in names:
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    tried(lambda: load_newest(tmp_path))
    assert len(step_files(tmp_path)) <= len(names)
    json.dumps([str(path) for path in step_files(tmp_path)])
