"""What tests of stopped runs share: damage to a checkpoint, and two runs compared to the bit."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from oamn_plugin.hosts.shared.checkpoint import load_checkpoint

DAMAGES = ("empty", "cut in half", "one bit", "zeros at the end", "noise", "hostile")


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.proof,)


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Damages a file in one of the ways of ``DAMAGES``; a hostile one makes the folder ``proof`` where it is loaded."""
    if how == "hostile":
        torch.save({"step": Exploit(path.with_name("proof"))}, path)
        return
    content = bytearray(path.read_bytes())
    match how:
        case "one bit":
            content[rng.randrange(len(content) // 4, 3 * len(content) // 4)] ^= 1 << rng.randrange(8)
        case "zeros at the end":
            content[-4096:] = bytes(4096)
        case "noise":
            content = bytearray(rng.randbytes(len(content)))
        case _:
            content = content[: len(content) // 2 if how == "cut in half" else 0]
    path.write_bytes(content)


def assert_same_run(folder: Path, reference: Path) -> None:
    """Asserts equal weights to the bit, equal results and every step once in the metrics."""
    wanted, weights = (load_checkpoint(run / "model_final.pth")["model"] for run in (reference, folder))
    assert wanted.keys() == weights.keys()
    assert [name for name in wanted if not torch.equal(wanted[name], weights[name])] == []
    for name in ("results.json", "results_note.json"):
        results = [json.loads((run / name).read_text()) for run in (reference, folder)]
        for content in results:
            content.get("OccludedPedestrians", {}).pop("seconds_per_1000_gallery", None)
        assert results[0] == results[1]
    lines = [
        [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()] for run in (reference, folder)
    ]
    assert [line["iteration"] for line in lines[1]] == list(range(len(lines[0])))
    scores = [[line["validation_mAP"] for line in run if "validation_mAP" in line] for run in lines]
    assert scores[0] == scores[1]
    assert len(scores[0]) > 1
