"""Exact ranking at the size of MSMT17: ours against fastreid's ``build_dist`` + ``evaluate_rank``, Cython compiled.

    python benchmarks/ranking.py [--queries 11659 --gallery 82161 --dim 512 --identities 3060]

Each side runs in a process of its own on the same random descriptors; printed are seconds, memory above the
descriptors, the ratio and the largest difference of CMC, mAP and mINP. Needs fastreid, Cython and a C compiler
(``pip install .[bench]``). The host's extension is compiled in a temporary copy; nothing is written to where the host
is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
COMPILE = """
import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
extension = Extension("rank_cy", ["rank_cy.pyx"], include_dirs=[numpy.get_include()])
setup(name="rank_cy", ext_modules=cythonize([extension]), script_args=["build_ext", "--inplace", "--quiet"])
"""


def make_descriptors(folder: Path, queries: int, gallery: int, dim: int, identities: int, seed: int = 0) -> None:
    """Unit vectors around identity centres, hard enough that Rank-1 is near 80 % at the default size."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((identities, dim), dtype=np.float32)
    for name, count in (("query", queries), ("gallery", gallery)):
        pids = generator.integers(0, identities, count)
        rows = centres[pids] + 2.5 * generator.standard_normal((count, dim), dtype=np.float32)
        np.save(folder / f"{name}.npy", rows / np.linalg.norm(rows, axis=1, keepdims=True))
        np.save(folder / f"{name}_pids.npy", pids)
        np.save(folder / f"{name}_camids.npy", generator.integers(0, 15, count))


def load(folder: Path) -> list[np.ndarray]:
    names = ("query", "gallery", "query_pids", "gallery_pids", "query_camids", "gallery_camids")
    return [np.load(folder / f"{name}.npy") for name in names]


def run_ours(folder: Path) -> dict[str, object]:
    from oamn_plugin.retrieval import evaluate_ranking

    arrays = load(folder)
    before, start = peak_memory(), clocks()
    result = evaluate_ranking(*arrays)
    return report(before, clocks() - start, result.cmc, result.mAP, result.mINP)


def run_fastreid(folder: Path) -> dict[str, object]:
    import torch

    sys.path.insert(0, str(compiled_host(folder)))
    from fastreid.utils.compute_dist import build_dist
    from host_rank import rank  # type: ignore[import-not-found]

    if not rank.IS_CYTHON_AVAI:
        raise RuntimeError("the host's Cython extension was not compiled")
    query, gallery, *labels = load(folder)
    tensors = torch.from_numpy(query), torch.from_numpy(gallery)
    before, start = peak_memory(), clocks()
    distances = build_dist(*tensors, "euclidean")
    cmc, ap, inp = rank.evaluate_rank(distances, *labels)
    return report(before, clocks() - start, cmc, np.mean(ap, dtype=float), np.mean(inp, dtype=float))


def compiled_host(folder: Path) -> Path:
    """A package ``host_rank`` with the host's own two files, the extension compiled beside them."""
    host = importlib.util.find_spec("fastreid")
    if host is None or not host.submodule_search_locations:
        raise SystemExit("fastreid is missing: pip install fastreid==1.4.0 --no-deps")
    source, target = Path(host.submodule_search_locations[0], "evaluation"), folder / "host" / "host_rank"
    if not target.exists():
        (target / "rank_cylib").mkdir(parents=True)
        shutil.copy(source / "rank.py", target)
        shutil.copy(source / "rank_cylib" / "rank_cy.pyx", target / "rank_cylib")
        (target / "__init__.py").touch()
        (target / "rank_cylib" / "__init__.py").touch()
        subprocess.run(
            [sys.executable, "-c", COMPILE], cwd=target / "rank_cylib", check=True, stdout=subprocess.DEVNULL
        )
    return target.parent


def peak_memory() -> float:
    """Largest resident memory of this process so far, in GB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory from before the exec
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9


def clocks() -> np.ndarray:
    """Seconds on the wall and on the processors; the second says more on a machine that is busy with other things."""
    return np.array([time.perf_counter(), time.process_time()])


def report(before: float, spent: np.ndarray, cmc: np.ndarray, mean_ap: float, mean_inp: float) -> dict[str, object]:
    scores = {"cmc": cmc.tolist(), "mAP": float(mean_ap), "mINP": float(mean_inp)}
    return {"seconds": spent[0], "processor": spent[1], "memory": peak_memory() - before, **scores}


def in_own_process(side: str, folder: Path) -> dict[str, object]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the side {side!r} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="ranking-") as name:
        folder = Path(name)
        make_descriptors(folder, arguments.queries, arguments.gallery, arguments.dim, arguments.identities)
        compiled_host(folder)
        ours, theirs = (in_own_process(side, folder) for side in ("ours", "fastreid"))
    size = f"{arguments.queries} queries x {arguments.gallery} gallery images, {arguments.dim}-d"
    print(f"exact ranking, {size}, {os.cpu_count()} cores")
    print(
        f"{'':10} {'seconds':>9} {'processor s':>12} {'GB above descriptors':>22} {'Rank-1':>8} {'mAP':>8} {'mINP':>8}"
    )
    for label, side in (("fastreid", theirs), ("ours", ours)):
        scores = f"{100 * side['cmc'][0]:8.3f} {100 * side['mAP']:8.3f} {100 * side['mINP']:8.3f}"
        print(f"{label:10} {side['seconds']:9.2f} {side['processor']:12.2f} {side['memory']:22.2f} {scores}")
    differences = [np.abs(np.subtract(ours[key], theirs[key])).max() for key in ("cmc", "mAP", "mINP")]
    wall, processor = (theirs[key] / ours[key] for key in ("seconds", "processor"))
    print(f"ratio: {wall:.1f} times faster (to reach: 5); {processor:.1f} times less processor time")
    print(f"largest difference: CMC {differences[0]:.1e}, mAP {differences[1]:.1e}, mINP {differences[2]:.1e} (1e-6)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=11659)
    parser.add_argument("--gallery", type=int, default=82161)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--identities", type=int, default=3060)
    parser.add_argument("--side", choices=("ours", "fastreid"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps((run_ours if arguments.side == "ours" else run_fastreid)(arguments.folder)))
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
