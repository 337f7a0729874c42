"""The promises of docs/reliability.md against the real command: SIGKILL anywhere, full disks, a process that dies.

``make torture`` runs these and prints what each has seen; the quick versions are beside it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from run_checks import DAMAGES, assert_same_run, damage
from tiny_fastreid import TINY
from torture_runs import LIMIT, ROOT, Run, end, kill, kill_one_child, kill_those_about, mount, small_disk

from oamn_plugin.benchmark.schedule import CONSOLE, read_record
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, step_files

pytestmark = [pytest.mark.slow, pytest.mark.torture]
KILLS, SUITE_KILLS = 20, 4
STEPS = 24
OPTIONS = TINY | {
    "MODEL.BACKBONE.NAME": "build_mobilenetv2_backbone",
    "MODEL.BACKBONE.DEPTH": "0.1x",
    "MODEL.BACKBONE.FEAT_DIM": 1280,
    "DATASETS.VALIDATION.NUM_IDS": 4,
    "DATALOADER.NUM_WORKERS": 1,
    "SOLVER.IMS_PER_BATCH": 4,
    "SOLVER.MAX_EPOCH": 3,
    "SOLVER.CHECKPOINT_STEPS": 2,
    "SOLVER.CHECKPOINT_KEEP": 3,
    "SOLVER.LOG_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.IMS_PER_BATCH": 5,
}
See = Callable[[str], None]


@pytest.fixture(scope="module")
def options(embedded_root: Path) -> list[str]:
    return [word for key, value in OPTIONS.items() for word in (key, str(value))] + [
        "DATASETS.ROOT",
        str(embedded_root),
    ]


@pytest.fixture(scope="module")
def reference(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    run = Run(tmp_path_factory.mktemp("torture") / "reference", options)
    assert run.finish() == 0, run.told()
    assert f"step {STEPS}/{STEPS}" in run.told()
    return run.output


@pytest.fixture
def see(record_property: Callable[[str, object], None]) -> See:
    """Notes what a case has seen, for the table of ``make torture``."""
    return lambda text: record_property("seen", text)


def resume(run: Run, reference: Path) -> str:
    """Resumes to the end, compares with the uninterrupted run, and says where it went on."""
    assert run.finish("--resume") == 0, run.told()
    assert_same_run(run.output, reference)
    resumed = re.search(r"Resumed after step (\d+) of", run.told())
    return f"resumed after step {resumed[1] if resumed else 0}, equal"


@pytest.mark.parametrize("number", range(KILLS))
def test_sigkill_anywhere(number: int, options: list[str], reference: Path, tmp_path: Path, see: See) -> None:
    rng, run = random.Random(number), Run(tmp_path / "run", options)
    process, step = run.start(), rng.randrange(STEPS)
    run.wait_for(process, f"step {step}/" if step else "million parameters")
    time.sleep(rng.uniform(0, 0.3))  # on its way through the step, a save or a validation
    if process.exitcode is None:
        kill(process)
    steps = re.findall(r"step (\d+)/", run.told())
    see(f"killed after step {steps[-1] if steps else 0}, {resume(run, reference)}")


def suite_of(folder: Path, options: list[str]) -> subprocess.Popen[str]:
    """A suite that trains the reference's configuration twice, one after the other."""
    config = str(ROOT / "configs" / "Base-OAMN.yml")
    keys = {"output": str(folder / "runs"), "baseline": "a", "protocols": ["OccludedPedestrians"], "opts": options}
    methods = [{"name": name, "config": config} for name in "ab"]
    (folder / "suite.yml").write_text(yaml.safe_dump({**keys, "methods": methods}))
    command = [sys.executable, "-m", "oamn_plugin", "benchmark", str(folder / "suite.yml")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def suite_seconds(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long a suite takes that nothing happens to."""
    start = time.monotonic()
    process = suite_of(tmp_path_factory.mktemp("suite"), options)
    told, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, told
    return time.monotonic() - start


@pytest.mark.parametrize("number", range(SUITE_KILLS))
def test_suite_killed_anywhere(
    number: int, options: list[str], reference: Path, suite_seconds: float, tmp_path: Path, see: See
) -> None:
    """Every second time its trainings die too, as when the machine goes down; else the first one is left behind."""
    share, alone = random.Random(f"suite {number}").random(), number % 2 == 0
    process = suite_of(tmp_path, options)
    time.sleep(share * suite_seconds)
    process.kill() if alone else kill_those_about(tmp_path)
    process.communicate()
    folders = [tmp_path / "runs" / name / "seed0" for name in "ab"]
    finished = [folder for folder in folders if (record := read_record(folder)) and record.finished]
    weights = [(folder / "model_final.pth").stat() for folder in finished]
    again = suite_of(tmp_path, options)
    told, _ = again.communicate(timeout=LIMIT)
    assert again.returncode == 0, told
    assert [(folder / "model_final.pth").stat() for folder in finished] == weights, "a finished run was touched"
    for folder in folders:
        assert_same_run(folder, reference)
        assert "belongs to a training that runs" not in (folder / CONSOLE).read_text(), "a second training was begun"
        assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["seed0"], "a run was moved away"
        assert not list(folder.glob("before_*"))
    waited = ", the training it left waited for" if ": waits for process" in told else ""
    left = f"{'alone' if alone else 'with its trainings'} after {share:.0%} of the time, {len(finished)} of 2 runs done"
    see(f"killed {left}{waited}; all equal")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT], ids=lambda sign: sign.name)
def test_signal(sign: signal.Signals, options: list[str], reference: Path, tmp_path: Path, see: See) -> None:
    run = Run(tmp_path / "run", options)
    process = run.start()
    run.wait_for(process, "step 3/")
    os.kill(process.pid, sign)
    assert end(process) == 75, run.told()
    words = f"go on with --resume, such as oamn train {tmp_path}/run/config.yaml --resume. Exit code 75"
    assert f"{sign.name}: the state is saved; {words}" in run.told()
    assert "Traceback" not in run.told()
    see(f"exit code 75, no traceback, {resume(run, reference)}")


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_newest_checkpoint(how: str, options: list[str], reference: Path, tmp_path: Path, see: See) -> None:
    run = Run(Path(shutil.copytree(reference, tmp_path / "run")), options)
    newest = step_files(run.output)[0]
    damage(newest, how, random.Random(how))
    ended = resume(run, reference)
    assert newest.name in run.told(), "the damaged file is not named"
    assert "the one before it is used" in run.told()
    assert not newest.with_name("proof").exists(), "code was run"
    see(f"noticed in {newest.name}, {ended}")


def test_disk_full_then_made_larger(options: list[str], reference: Path, tmp_path: Path, see: See) -> None:
    state = step_files(reference)[0].stat().st_size
    with small_disk(tmp_path / "small", int(2.5 * state)) as disk:
        run = Run(disk / "run", options, tmp_path / "full.log")
        assert run.finish() == 2, run.told()
        assert "Traceback" not in run.told()
        assert re.search("cannot write .*No space left on device", run.told().splitlines()[-1])
        kept = step_files(run.output)
        assert kept, "no checkpoint is left"
        for path in kept:
            load_checkpoint(path)
        mount("-o", f"remount,size={40 * state}", str(disk))
        see(f"one message, exit code 2, {len(kept)} checkpoints whole; {resume(run, reference)}")


def test_output_folder_read_only(options: list[str], tmp_path: Path, see: See) -> None:
    with small_disk(tmp_path / "readonly", 2**22) as disk:
        mount("-o", "remount,ro", str(disk))
        run = Run(disk / "run", options, tmp_path / "readonly.log")
        assert run.finish() == 2, run.told()
    assert "Traceback" not in run.told()
    see(run.told().splitlines()[-1].strip(" -").replace(f"{tmp_path}/", ""))


def test_two_trainings_in_one_folder(options: list[str], reference: Path, tmp_path: Path, see: See) -> None:
    first, second = Run(tmp_path / "run", options), Run(tmp_path / "run", options, tmp_path / "second.log")
    process = first.start()
    first.wait_for(process, "step 1/")
    assert second.finish() == 2, second.told()
    assert f"belongs to a training that runs, process {process.pid} on" in second.told()
    assert end(process) == 0, first.told()
    assert_same_run(first.output, reference)
    see("the second refused with the process of the first, which ends equal")


def test_one_of_two_processes_killed(options: list[str], tmp_path: Path, see: See) -> None:
    run = Run(tmp_path / "run", options)
    process = run.start("--num-gpus", "2")
    run.wait_for(process, "step 2/")
    kill_one_child(process.pid)
    start = time.monotonic()
    assert end(process) == 2, run.told()
    seconds = time.monotonic() - start
    assert seconds < 60
    assert "was ended by SIGKILL" in run.told()
    see(f"all ended after {seconds:.0f} s with the cause")
