"""Bad images, hostile files and impossible configurations through the fastreid adapter."""

from __future__ import annotations

import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastreid.config import CfgNode
from hypothesis import given, settings
from hypothesis import strategies as st
from run_checks import Exploit
from tiny_fastreid import changed, tiny_config

from oamn_plugin.configurations import flat
from oamn_plugin.datasets.images import BadImageError
from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.fastreid import ranges
from oamn_plugin.hosts.fastreid.config import load_config
from oamn_plugin.hosts.fastreid.main import set_seed
from oamn_plugin.hosts.fastreid.preflight import check_settings, preflight
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint
from oamn_plugin.hosts.shared.errors import CheckpointError, ConfigError
from oamn_plugin.hosts.shared.evaluation import EvaluationError
from oamn_plugin.hosts.shared.preflight import PreflightError
from oamn_plugin.hosts.shared.weights import load_weights

TINIEST = {
    "MODEL__BACKBONE__NAME": "build_mobilenetv2_backbone", "MODEL__BACKBONE__DEPTH": "0.1x",
    "MODEL__BACKBONE__FEAT_DIM": 1280,
}  # fmt: skip

# bad images


@pytest.fixture
def copied_root(embedded_root: Path, tmp_path: Path) -> Path:
    """A data set of one's own to damage."""
    return Path(shutil.copytree(embedded_root, tmp_path / "data"))


def spoil(root: Path, part: str, count: int) -> list[Path]:
    """Damages the first images of a part, each in another way."""
    folder = next(path for path in root.iterdir() if path.is_dir()) / part
    damages = (b"", b"<html>404</html>", b"\xff\xd8\xff\xe0 no more")
    chosen = sorted(folder.glob("*.jpg"))[:count]
    for number, path in enumerate(chosen):
        path.write_bytes(damages[number % len(damages)])
    return chosen


def per_query(output: Path) -> dict[str, np.ndarray]:
    return dict(np.load(output / "per_query" / "OccludedPedestrians.npz"))


def evaluate(root: Path, output: Path, **changes: Any) -> dict[str, Any]:
    cfg = set_seed(tiny_config("OAMN", root, output, MODEL__HEADS__NUM_CLASSES=1, TEST__IMS_PER_BATCH=1, **changes))
    return Trainer.test(cfg, Trainer.build_model(cfg))["OccludedPedestrians"]


def test_skipped_test_images_leave_the_others_ranked_as_without_them(copied_root: Path, tmp_path: Path) -> None:
    bad = spoil(copied_root, "query", 2) + spoil(copied_root, "bounding_box_test", 3)
    skipped = evaluate(copied_root, tmp_path / "skipped", INPUT__BAD_IMAGES="skip")
    for path in bad:
        path.unlink()
    without = evaluate(copied_root, tmp_path / "without")
    assert skipped.pop("skipped_images") == len(bad)
    for one in (skipped, without):
        one.pop("seconds_per_1000_gallery")
    assert skipped == without
    found, wanted = per_query(tmp_path / "skipped"), per_query(tmp_path / "without")
    for key in wanted:
        np.testing.assert_array_equal(found[key], wanted[key])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_test_image_fails_as_itself(workers: int, copied_root: Path, tmp_path: Path) -> None:
    bad = spoil(copied_root, "query", 1)[0]
    with pytest.raises(BadImageError, match="the file is empty") as caught:
        evaluate(copied_root, tmp_path / "failed", DATALOADER__NUM_WORKERS=workers)
    assert caught.value.path == str(bad)


@pytest.mark.parametrize(("part", "what"), [("query", "query"), ("bounding_box_test", "gallery")])
def test_when_nothing_can_be_read_the_reason_is_told(part: str, what: str, copied_root: Path, tmp_path: Path) -> None:
    spoil(copied_root, part, 999)
    with pytest.raises(EvaluationError, match=rf"none of \d+ {what} images can be read: cannot read the image"):
        evaluate(copied_root, tmp_path / "none", INPUT__BAD_IMAGES="skip")


def test_training_goes_on_over_bad_images_or_stops_at_the_first(copied_root: Path, tmp_path: Path) -> None:
    bad = {str(path) for path in spoil(copied_root, "bounding_box_train", 3)}
    with pytest.raises(BadImageError) as caught:
        Trainer(set_seed(tiny_config("OAMN", copied_root, tmp_path / "fail", **TINIEST))).train()
    assert caught.value.path in bad
    changes = {"INPUT__BAD_IMAGES": "skip"} | TINIEST
    Trainer(set_seed(tiny_config("OAMN", copied_root, tmp_path / "skip", **changes))).train()
    assert (tmp_path / "skip" / "results.json").exists()


# hostile files


@pytest.mark.parametrize("old_format", [False, True])
def test_a_hostile_checkpoint_runs_nothing(old_format: bool, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"model": Exploit(proof)}, tmp_path / "evil.pth", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(CheckpointError, match=r"evil.pth is not a checkpoint of plain tensors and numbers"):
        load_weights(torch.nn.Linear(1, 1), str(tmp_path / "evil.pth"))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Exploit(proof)))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "evil.pkl")
    assert not proof.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)  # the exploit is a real one
    assert proof.exists()


@pytest.mark.parametrize("text", ["!!python/object/apply:os.mkdir ['{}']", "SEED: !!python/object/new:os.mkdir ['{}']"])
def test_hostile_yaml_runs_nothing(text: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "evil.yml").write_text(text.format(proof))
    with pytest.raises(ConfigError, match=r"evil.yml is not readable as YAML"):
        load_config(str(tmp_path / "evil.yml"))
    with pytest.raises(ConfigError):
        load_config("", ["SEED", f"__import__('os').mkdir('{proof}')"])
    assert not proof.exists()


# configurations


@pytest.fixture(scope="module")
def valid(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    return tiny_config("OAMN", embedded_root, tmp_path_factory.mktemp("valid"))


def test_the_valid_configuration_is_valid(valid: CfgNode) -> None:
    assert check_settings(valid, train=True) == []


NUMBERS = {
    **dict.fromkeys(ranges.ABOVE_0, lambda x: x > 0),
    **dict.fromkeys(ranges.FROM_0, lambda x: x >= 0),
    **dict.fromkeys(ranges.SHARES, lambda x: 0 <= x <= 1),
    **dict.fromkeys(ranges.BELOW_1, lambda x: 0 <= x < 1),
}


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_number_is_refused_exactly_when_it_is_out_of_range(valid: CfgNode, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(NUMBERS)))
    kind = st.integers(-(10**6), 10**6) if isinstance(flat(valid)[key], int) else st.floats(width=64)
    value = data.draw(kind | st.sampled_from([0, 1]))
    cfg = changed(valid, **{key.replace(".", "__"): value})
    found = ranges.wrong_ranges(cfg)
    if math.isfinite(value) and NUMBERS[key](value):
        assert found == []
    else:
        assert [line.split()[0] for line in found] == [key]
        assert str(value) in found[0]


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(max_examples=200, deadline=None)
@given(size=st.lists(ANYTHING, max_size=4), key=st.sampled_from(ranges.SIZE_KEYS))
def test_any_list_is_a_size_or_is_refused(valid: CfgNode, size: list[Any], key: str) -> None:
    good = len(size) == 2 and all(type(side) is int and side >= ranges.SMALLEST for side in size)
    found = ranges.wrong_lists(changed(valid, **{key.replace(".", "__"): size}))
    assert (found == []) == good


@settings(max_examples=200, deadline=None)
@given(
    images=st.integers(1, 512), instances=st.integers(1, 64), processes=st.integers(1, 16), held=st.integers(0, 3),
    period=st.integers(1, 9), epochs=st.integers(1, 9), momentum=st.sampled_from([0.0, 0.9]),
)  # fmt: skip
def test_combinations(
    valid: CfgNode, images: int, instances: int, processes: int, held: int, period: int, epochs: int, momentum: float
) -> None:
    cfg = changed(
        valid, SOLVER__IMS_PER_BATCH=images, DATALOADER__NUM_INSTANCE=instances, TEST__EVAL_PERIOD=period,
        DATASETS__VALIDATION__NUM_IDS=held, SOLVER__MAX_EPOCH=epochs, SOLVER__MOMENTUM=momentum,
    )  # fmt: skip
    wrong = [images % instances != 0, images % processes != 0, held > 0 and period > epochs, momentum == 0]
    assert len(ranges.wrong_combinations(cfg, processes)) == sum(wrong)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["SOLVER.BASE_LR", "INPUT.FLIP.PROB", "SEED", "NOT.A.KEY"]), st.text(max_size=8))
)
def test_no_text_on_the_command_line_gives_another_error(opts: dict[str, str]) -> None:
    try:
        load_config("", [word for pair in opts.items() for word in pair])
    except ExpectedError as error:
        told = str(error)
    else:
        return
    assert any(key in told for key in opts)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["INPUT.PIPELINE", "gpu"], "INPUT.PIPELINE: there is no 'gpu'. Known: device, host, list"),
        (["INPUT.BAD_IMAGES", "ignore"], "INPUT.BAD_IMAGES: there is no 'ignore'. Known: fail, skip"),
        (["SOLVER.OPT", "Adamant"], "no optimiser 'Adamant'"),
        (["SOLVER.SCHED", "Linear"], "SOLVER.SCHED: there is no 'Linear'."),
        (["DATASETS.EMBEDDED.SIZE", "huge"], "DATASETS.EMBEDDED.SIZE: there is no 'huge'. Known: "),
        (["MODEL.PIXEL_STD", "[1, 0, 1]"], "three numbers above 0"),
        (["SOLVER.STEPS", "[40, 20]"], "rising order"),
        (["SOLVER.BASE_LR", "nan"], "SOLVER.BASE_LR must be above 0, got nan"),
    ],
)
def test_wrong_settings_are_told_before_any_data_is_read(opts: list[str], message: str, tmp_path: Path) -> None:
    nowhere = ["DATASETS.ROOT", str(tmp_path / "nowhere"), "OUTPUT_DIR", str(tmp_path), "MODEL.DEVICE", "cpu"]
    if opts[1] == "nan":
        cfg = changed(load_config("", nowhere), SOLVER__BASE_LR=float("nan"))
    else:
        cfg = load_config("", [*nowhere, *opts])
    with pytest.raises(PreflightError) as caught:
        preflight(cfg)
    assert message in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


def test_every_process_needs_an_equal_share(valid: CfgNode) -> None:
    found = check_settings(valid, train=True, processes=3)
    assert found == ["SOLVER.IMS_PER_BATCH 8 must be a multiple of the 3 processes"]
    assert check_settings(valid, train=False, processes=3) == []


# determinism


def test_one_seed_one_result_whatever_the_workers(embedded_root: Path, tmp_path: Path) -> None:
    found = []
    for seed, workers in ((1, 0), (1, 2), (2, 0)):
        output = tmp_path / f"{seed}{workers}"
        changes = {"SEED": seed, "DATALOADER__NUM_WORKERS": workers} | TINIEST
        trainer = Trainer(set_seed(tiny_config("OAMN", embedded_root, output, **changes)))
        trainer.train()
        weights = torch.cat([value.flatten().double() for value in trainer.bare_model.state_dict().values()])
        lines = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
        found.append((weights, [line["total_loss"] for line in lines]))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    assert not torch.equal(found[0][0], found[2][0])
