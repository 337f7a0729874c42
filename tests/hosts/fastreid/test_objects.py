"""Objects, native strips and the wide mask, trained with in the real host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_fastreid import changed, tiny_config

from oamn_plugin.datasets.cutouts import write_cutouts
from oamn_plugin.hosts.fastreid.preflight import check_data, check_settings
from oamn_plugin.hosts.fastreid.trainer import Trainer

PLUS = {"MODEL__OAMN__PRESET": "plus", "MODEL__OAMN__PATCH_SOURCE": "native", "MODEL__OAMN__WIDE_MASK": True}
BASELINE = {"INPUT__PIPELINE": "device", "INPUT__OCCLUSION__PROB": 0.7, "INPUT__OCCLUSION__PATCH_SOURCE": "native"}


@pytest.mark.parametrize(("base", "changes"), [("OAMN", PLUS), ("bagtricks", BASELINE)])
def test_a_method_trains_with_objects_and_native_strips(
    base: str, changes: dict[str, object], embedded_root: Path, tmp_path: Path
) -> None:
    folder = str(write_cutouts(tmp_path / "cutouts", 8))
    cfg = tiny_config(base, embedded_root, tmp_path / "run", INPUT__OCCLUSION__OBJECTS=folder, **changes)
    assert not check_settings(cfg, train=True)
    assert not check_data(cfg, train=True)
    trainer = Trainer(cfg)
    batch = next(iter(trainer.loader))
    assert batch["covered"].shape == (*batch["types"].shape, *batch["images"].shape[-2:])
    trainer.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    assert lines[-1]["total_loss"] > 0


def test_what_objects_do_not_go_with_is_found_before_training(embedded_root: Path, tmp_path: Path) -> None:
    folder = str(write_cutouts(tmp_path / "cutouts", 4))
    cfg = tiny_config("OAMN", embedded_root, tmp_path / "run", INPUT__OCCLUSION__OBJECTS=folder)
    assert "MODEL.OAMN.AXES must be 0" in "".join(check_settings(cfg, train=True))
    cfg = changed(cfg, INPUT__OCCLUSION__OBJECTS=str(tmp_path / "nothing"))
    assert "INPUT.OCCLUSION.OBJECTS: " in "".join(check_data(cfg, train=True))
