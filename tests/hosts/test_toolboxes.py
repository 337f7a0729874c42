"""What a suite asks of the hosts: every value of a configuration, those of its preset in full, and the preflight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oamn_plugin import presets
from oamn_plugin.datasets.embedded import drawing_nothing
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.fastreid.config import load_config as load_fastreid
from oamn_plugin.hosts.fastreid.config import resolved as resolved_fastreid
from oamn_plugin.hosts.toolboxes import TOOLBOXES
from oamn_plugin.hosts.torchreid.config import load_config as load_torchreid
from oamn_plugin.hosts.torchreid.config import resolved as resolved_torchreid
from oamn_plugin.presets import PRESETS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
HOSTS = {
    "fastreid": (load_fastreid, resolved_fastreid, "Base-OAMN.yml", "MODEL.OAMN.PRESET", "MODEL.OAMN.CUT_SHARE"),
    "torchreid": (
        load_torchreid,
        resolved_torchreid,
        "torchreid/oamn_osnet_x0_25.yml",
        "oamn.preset",
        "oamn.cut_share",
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("host", HOSTS)
def test_a_changed_preset_kept_the_results_of_the_earlier_one(
    host: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, resolve, name, key, option = HOSTS[host]
    config, run = str(CONFIGS / name), tmp_path / "config.yaml"
    run.write_text(resolve(load(config, [key, preset])).dump())  # as a training leaves it
    box = TOOLBOXES[host]
    assert box.resolve(str(run), []) == box.resolve(config, [key, preset])
    monkeypatch.setitem(presets._OVERRIDES[preset], "cut_share", 0.4375)
    today = box.resolve(config, [key, preset])
    assert json.loads(json.dumps(today)) == today  # plain data: a tuple is a list
    assert today[option] == 0.4375
    assert {name for name, value in box.resolve(str(run), []).items() if value != today[name]} == {option}


@pytest.mark.parametrize("host", HOSTS)
def test_the_check_of_a_test_needs_no_weights(host: str, embedded_root: Path, tmp_path: Path) -> None:
    data = {
        "fastreid": {
            "MODEL.DEVICE": "cpu", "DATASETS.ROOT": embedded_root, "DATASETS.TESTS": "('OccludedPedestrians',)",
            "DATASETS.EMBEDDED.SIZE": "tiny", "OUTPUT_DIR": tmp_path,
        },
        "torchreid": {
            "use_gpu": "False", "data.root": embedded_root, "data.targets": "['OccludedPedestrians']",
            "data.sources": "['OccludedPedestrians']", "embedded.size": "tiny", "data.save_dir": tmp_path,
            "train.batch_size": 8, "sampler.num_instances": 2, "data.workers": 0,
        },
    }[host]  # fmt: skip
    config, words = str(CONFIGS / HOSTS[host][2]), [str(word) for pair in data.items() for word in pair]
    box = TOOLBOXES[host]
    box.check(config, words, train=False)
    elsewhere = {"fastreid": "DATASETS.ROOT", "torchreid": "data.root"}[host]
    with drawing_nothing():
        box.check(config, [*words, elsewhere, str(tmp_path / "sets")], train=False)
    assert not (tmp_path / "sets").exists()
    wrong = {"fastreid": ["DATASETS.TESTS", "('Market1502',)"], "torchreid": ["data.targets", "['market1502']"]}[host]
    with pytest.raises(ExpectedError, match="arket1502"):
        box.check(config, [*words, *wrong], train=False)
