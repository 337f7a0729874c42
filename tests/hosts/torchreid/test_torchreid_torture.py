"""SIGKILL at random moments of a torchreid training, and two in one folder."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_torchreid import require_torchreid, tiny_options
from torture_runs import Run, end, kill

from oamn_plugin.hosts.shared.checkpoint import load_checkpoint

require_torchreid()
pytestmark = [pytest.mark.slow, pytest.mark.torture]
KILLS = 10


def new_run(folder: Path, root: Path) -> Run:
    options = tiny_options(root, folder, train__max_epoch=3, train__print_freq=1)
    return Run(folder, options, config="torchreid/oamn_osnet_x0_25.yml", key="data.save_dir")


@pytest.fixture(scope="module")
def reference(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing happened to."""
    run = new_run(tmp_path_factory.mktemp("torture") / "reference", embedded_root)
    assert run.finish() == 0, run.told()
    return run


def assert_same(folder: Path, reference: Path) -> None:
    """Asserts equal weights to the bit, equal scores, and every step once with the same losses."""
    wanted, weights = (load_checkpoint(run / "model_final.pth")["state_dict"] for run in (reference, folder))
    assert wanted.keys() == weights.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], weights[name])] == []
    told = []
    for run in (reference, folder):
        scores = json.loads((run / "results.json").read_text())
        for one in scores.values():
            one.pop("seconds_per_1000_gallery", None)
        lines = map(json.loads, (run / "metrics.json").read_text().splitlines())
        told.append((scores, [(line["iteration"], line["total_loss"]) for line in lines]))
    assert told[0] == told[1]


@pytest.mark.parametrize("number", range(KILLS))
def test_torchreid_sigkill_anywhere(
    number: int, embedded_root: Path, reference: Run, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rng, run = random.Random(f"torchreid {number}"), new_run(tmp_path / "run", embedded_root)
    steps = len((reference.output / "metrics.json").read_text().splitlines())
    process, step = run.start(), rng.randrange(steps)
    metrics = run.output / "metrics.json"
    while process.exitcode is None and (not metrics.exists() or metrics.read_text().count("\n") < step):
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.3))  # on its way through the step, a save or the test
    if process.exitcode is None:
        kill(process)
    left = metrics.read_text().count("\n") if metrics.exists() else 0
    assert run.finish("--resume") == 0, run.told()
    assert_same(run.output, reference.output)
    resumed = re.search(r"Resumed after epoch (\d+) of", run.told())
    epoch = resumed[1] if resumed else 0
    record_property("seen", f"killed after step {left} of {steps}, resumed after epoch {epoch}, equal")


def test_two_torchreid_trainings_in_one_folder(
    embedded_root: Path, reference: Run, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run, second = new_run(tmp_path / "run", embedded_root), new_run(tmp_path / "run", embedded_root)
    second.log = tmp_path / "second.log"
    process = run.start()
    while process.exitcode is None and not (run.output / "metrics.json").exists():
        time.sleep(0.005)
    assert second.finish() == 2, second.told()
    assert f"belongs to a training that runs, process {process.pid} on" in second.told()
    assert end(process) == 0, run.told()
    assert_same(run.output, reference.output)
    record_property("seen", "the second refused with the process of the first, which ends equal")
