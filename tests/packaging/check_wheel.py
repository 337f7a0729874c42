"""Builds wheel and sdist, checks them, and uses the wheel from an empty folder as a user would: `make wheel-test`.

The new environment sees the packages of the one that runs this, so that torch is not installed again; this package is
the wheel's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "MODEL.BACKBONE.PRETRAIN", "False", "DATASETS.EMBEDDED.SIZE", "tiny", "SOLVER.MAX_EPOCH", "1",
    "SOLVER.IMS_PER_BATCH", "16", "DATALOADER.NUM_WORKERS", "0", "INPUT.SIZE_TRAIN", "[64, 32]",
    "INPUT.SIZE_TEST", "[64, 32]",
]  # fmt: skip
SUITE = """
name: Two methods, one epoch
output: logs/tiny
baseline: bagtricks
protocols: [OccludedPedestrians]
opts: [{opts}]
methods:
  - {{name: bagtricks, config: embedded/bagtricks}}
  - {{name: OAMN, config: embedded/oamn_plus}}
"""


def main() -> int:
    """Runs every step; the first that fails ends it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder / "dist")
        oamn = install(wheel, folder / "venv")
        use(oamn, folder)
    return 0


def build(out: Path) -> Path:
    """Wheel and sdist of this repository, checked."""
    # the wheel from the sdist: what the sdist lacks, the wheel would lack
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)])
    (wheel,), files = list(out.glob("*.whl")), list(map(str, out.iterdir()))
    run([sys.executable, "-m", "twine", "check", "--strict", *files])
    run([sys.executable, "-m", "check_wheel_contents", str(wheel)])
    return wheel


def install(wheel: Path, place: Path) -> Path:
    """A new environment with the wheel; returns its command."""
    venv.create(place, with_pip=False)
    scripts = place / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    own = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (Path(own) / "seen.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    # the environment's own folder comes first on its path, so its copy of this package is the one that is used
    run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(wheel)])
    where = run([str(python), "-c", "import oamn_plugin; print(oamn_plugin.__file__)"], cwd=place).strip()
    assert Path(where).is_relative_to(place), f"the package in use is not the wheel's: {where}"
    return scripts / "oamn"


def use(oamn: Path, folder: Path) -> None:
    """Doctor, search, training and a suite, from an empty folder."""
    work, data = folder / "work", folder / "datasets"
    work.mkdir()

    def command(*words: str) -> str:
        return run([str(oamn), *words], cwd=work, FASTREID_DATASETS=str(data))

    started = time.perf_counter()
    command("--help")
    print(f"oamn --help: {time.perf_counter() - started:.2f} s")
    assert "packaged model is there" in command("doctor")
    assert "market1501/oamn_r50" in command("train", "--list").lower()
    images = Path(command("data", "embedded", "--size", "tiny").strip().splitlines()[-1])
    gallery, query = images / "bounding_box_test", sorted((images / "query").glob("*.jpg"))[0]
    command("search", "index", str(gallery), "--out", "crops.index", "--types", "none")
    command("search", "query", str(query), "--index", "crops.index", "--html", "page.html")
    assert "<html" in (work / "page.html").read_text(encoding="utf-8")
    command("train", "OAMN", *TINY)
    assert (work / "logs/oamn/results.json").is_file()
    (work / "suite.yml").write_text(SUITE.format(opts=", ".join(f'"{word}"' for word in TINY)), encoding="utf-8")
    assert "runs to do" in command("benchmark", "suite.yml", "--dry-run")
    command("benchmark", "suite.yml")
    assert (work / "logs/tiny/report/report.md").is_file()
    left = sorted(path.name for path in work.iterdir())
    assert left == ["crops.index", "logs", "page.html", "suite.yml"], (
        f"the folder holds more than was asked for: {left}"
    )


def run(words: list[str], cwd: Path | None = None, **environment: str) -> str:
    """Runs a command without this clone on its path; returns what it printed."""
    print("$", " ".join(words), flush=True)
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FASTREID_DATASETS")}
    done = subprocess.run(words, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\n{done.stderr}\nended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
