"""What ``torture.py`` feeds: numbers, images and files from elsewhere; and two processes for one."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from torture import Case
from torture_files import damaged_images
from torture_runs import check_same, end
from torture_stops import Stops

FILES = 100


class Yard(Stops):
    """All groups of cases."""

    # numbers

    def numbers(self) -> list[Case]:
        """A loss that is no number, a batch of one person."""
        return [("learning rate 1e30", self._nan), ("batches of one identity", self._one_identity)]

    def _nan(self) -> str:
        run = self.run("nan", "SOLVER.BASE_LR", "1e30")
        code = run.finish()
        assert code == 2, f"exit code {code}: {run.told()[-500:]}"
        told = run.told()
        assert "Traceback" not in told
        for part in ("is no finite number at step", "loss_identity", ".jpg"):
            assert part in told, f"not told: {part}"
        assert "Last good checkpoint" in told or "No checkpoint was saved" in told
        return re.search(r"the (gradient of the )?loss is no finite number at step \d+", told)[0]  # type: ignore[index]

    def _one_identity(self) -> str:
        run = self.run("one", "DATALOADER.NUM_INSTANCE", "4")
        assert run.finish() == 0, run.told()[-500:]
        assert "triplet 0.000" in run.told()
        return "trains on, triplet term 0"

    # files

    def bad_files(self) -> list[Case]:
        """Generated images, each read as what it is or refused with path and reason; and a run over bad ones."""
        made = list(damaged_images(self.random, FILES))
        kinds = sorted({kind for kind, _ in made})
        cases: list[Case] = [
            (f"{sum(k == kind for k, _ in made)} x {kind}", partial(_read_all, [c for k, c in made if k == kind]))
            for kind in kinds
        ]
        return [*cases, ("training and test over bad images", partial(self._spoiled, made))]

    def _spoiled(self, made: list[tuple[str, bytes]]) -> str:
        data = self.work / "spoiled"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.data, data)
        bad = [content for kind, content in made if kind in ("empty", "truncated", "text", "noise")][:30]
        paths = sorted(data.glob("*/bounding_box_train/*.jpg"))[::3][: len(bad) // 2]  # never all of a person
        paths += sorted(data.glob("*/bounding_box_test/*.jpg"))[::2][: len(bad) - len(paths)]
        for path, content in zip(paths, bad, strict=False):
            path.write_bytes(content)
        run = self.run("fail", data=data)
        assert run.finish() == 2, run.told()[-500:]
        assert "Traceback" not in run.told()
        assert any(str(path) in run.told() for path in paths)
        run = self.run("skip", "INPUT.BAD_IMAGES", "skip", data=data)
        assert run.finish() == 0, run.told()[-500:]
        assert "images could not be read and were left out" in run.told()
        return f"fail: named, exit code 2; skip: {len(paths)} left out, trained and tested"

    # hostile

    def hostile_files(self) -> list[Case]:
        """Files that run code where they are loaded carelessly."""
        return [("checkpoint in the run folder", self._hostile_resume), ("weights for a test", self._hostile_weights)]

    def _hostile_resume(self) -> str:
        import torch

        run, proof = self.run("hostile"), self.work / "proof1"
        shutil.copytree(self.reference.output, run.output)
        torch.save({"step": Exploit(proof)}, run.output / "checkpoints" / "step_00009999.pth")
        assert run.finish("--resume") == 0, run.told()[-500:]
        assert not proof.exists(), "code was run"
        assert "step_00009999.pth is not a checkpoint" in run.told()
        check_same(run.output, self.reference.output)
        return "nothing was run; the checkpoint before it was used"

    def _hostile_weights(self) -> str:
        proof, path = self.work / "proof2", self.work / "evil.pth"
        path.write_bytes(pickle.dumps(Exploit(proof)))
        run = self.run("hostile-weights", "MODEL.WEIGHTS", str(path))
        assert run.finish("--eval-only") == 2, run.told()[-500:]
        assert not proof.exists(), "code was run"
        return "nothing was run; one message, exit code 2"

    # processes

    def processes(self) -> list[Case]:
        """Two gloo processes against one; one of two killed; a signal to both."""
        return [
            ("scores of two processes", self._scores),
            ("training steps of two processes", self._steps),
            ("one of two processes killed", self._dies),
        ]

    def _scores(self) -> str:
        import numpy as np

        weights = ("MODEL.WEIGHTS", str(self.reference.output / "model_final.pth"))
        runs = [self.run(f"score{count}", *weights) for count in (1, 2)]
        for count, run in enumerate(runs, start=1):
            assert run.finish("--eval-only", "--num-gpus", str(count)) == 0, run.told()[-500:]
        one, two = (np.load(run.output / "per_query" / "OccludedPedestrians.npz") for run in runs)
        for key in one.files:
            assert np.array_equal(one[key], two[key]), f"{key} differs"
        return f"{len(one['ap'])} queries equal to the bit, last batches uneven"

    def _steps(self) -> str:
        # small steps: at a rate that teaches, two float32 runs drift apart from their first rounding on
        options = ("SOLVER.MAX_EPOCH", "1", "SOLVER.BASE_LR", "1e-7")
        runs = [self.run(f"steps{count}", *options) for count in (1, 2)]
        for count, run in enumerate(runs, start=1):
            assert run.finish("--num-gpus", str(count)) == 0, run.told()[-500:]
        losses = [_losses(run.output) for run in runs]
        assert len(losses[0]) == len(losses[1])
        apart = max(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True))
        assert apart < 1e-3, f"losses differ by {apart:.1e}"
        return f"losses of {len(losses[0])} steps within {apart:.0e} (float32, learning rate 1e-7)"

    def _dies(self) -> str:
        run = self.run("dies")
        process = run.start("--num-gpus", "2")
        assert run.wait_for(process, lambda: "step 2/" in run.told()), run.told()[-500:]
        kill_one_child(process.pid)
        start = time.monotonic()
        code = end(process)
        seconds = time.monotonic() - start
        assert code == 2, f"exit code {code}"
        assert seconds < 60, f"{seconds:.0f} s"
        assert "was ended by SIGKILL" in run.told(), run.told()[-500:]
        return f"all ended after {seconds:.0f} s with the cause"


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def _read_all(contents: list[bytes]) -> str:
    from oamn_plugin.datasets.images import BadImageError, decode_image

    read = 0
    for content in contents:
        try:
            image = decode_image(content, "märz 1.jpg", max_pixels=10**6)
        except BadImageError as error:
            told = str(error)
        else:
            assert image.mode == "RGB"
            read += 1
            continue
        assert re.search("märz 1.jpg.*: ..", told), told
    return f"{read} read, {len(contents) - read} refused with path and reason"


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["total_loss"] for line in (folder / "metrics.json").open()]


def kill_one_child(parent: int) -> None:
    """SIGKILL to the last started training process below a parent (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with open(folder / "stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        if int(fields[1]) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
            found.append(int(folder.name))
    os.kill(max(found), signal.SIGKILL)
