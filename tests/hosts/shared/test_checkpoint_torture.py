"""30 hostile pickles and zips given as weights: none runs code, each is data or one message."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from oamn_plugin.errors import ExpectedError
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, load_newest

pytestmark = [pytest.mark.slow, pytest.mark.torture]
CALLS = (
    ("builtins", "exec"), ("builtins", "eval"), ("os", "mkdir"), ("os", "system"), ("subprocess", "check_call"),
    ("pathlib", "Path.mkdir"), ("torch", "load"), ("numpy", "load"), ("importlib", "import_module"),
    ("builtins", "open"),
)  # fmt: skip


class Call:
    """Calls something by name when it is unpickled."""

    def __init__(self, module: str, name: str, proof: Path) -> None:
        self.module, self.name, self.proof = module, name, proof

    def __reduce__(self) -> tuple[Any, ...]:
        found: Any = __import__(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        text = f"__import__('os').mkdir({str(self.proof)!r})"
        words: dict[str, Any] = {
            "exec": text, "eval": text, "system": f"mkdir '{self.proof}'", "check_call": ["mkdir", str(self.proof)],
            "Path.mkdir": self.proof, "mkdir": str(self.proof),
        }  # fmt: skip
        return found, (words.get(self.name, str(self.proof)),)


def calls(way: str) -> Callable[[Path, random.Random], list[bytes]]:
    def make(proof: Path, rng: random.Random) -> list[bytes]:
        made = []
        for module, name in CALLS:
            buffer = io.BytesIO()
            state = {"model": {"weight": torch.zeros(2)}, "step": Call(module, name, proof)}
            if way == "pickle":
                pickle.dump(state["step"], buffer, protocol=rng.randrange(6))
            else:
                torch.save(state, buffer, _use_new_zipfile_serialization=way == "zip")
            made.append(buffer.getvalue())
        return made

    return make


def archives(proof: Path, rng: random.Random) -> list[bytes]:
    """Zips that lie about their content."""
    buffer = io.BytesIO()
    torch.save({"model": {"weight": torch.arange(1000.0)}}, buffer)
    whole = buffer.getvalue()
    entries = {info.filename: zipfile.ZipFile(buffer).read(info) for info in zipfile.ZipFile(buffer).infolist()}

    def packed(changes: dict[str, bytes], level: int = zipfile.ZIP_STORED, name: str = "archive") -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", level) as archive:
            for entry, content in (entries | changes).items():
                archive.writestr(entry.replace("archive", name, 1), content)
        return out.getvalue()

    data = next(name for name in entries if name.endswith("data/0"))
    program = next(name for name in entries if name.endswith("data.pkl"))
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    return [
        bytes(flipped),
        whole[: rng.randrange(len(whole))],
        packed({data: b""}),  # a storage of no bytes
        packed({data: bytes(1 << 26)}, zipfile.ZIP_DEFLATED),  # 64 MB in 64 kB
        packed({}, name="../../archive"),
        packed({program: entries[program].replace(b"FloatStorage", b"LongStorage ")}),
        packed({program: b"(" * 100_000 + b"."}),
        packed({program: b"\x80\x02" + b"]" + b"q\x00" + b"h\x00a" * 5 + b"."}),  # a list that holds itself
    ]


def odd_files(proof: Path, rng: random.Random) -> list[bytes]:
    """What is no checkpoint at all, or says that it is larger than it is."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    return [
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"x.",  # a text of 2^60 bytes
        struct.pack("<Q", len(header)) + header,  # safetensors of 4 TB
    ]


MAKERS = {"pickles": calls("pickle"), "torch zips": calls("zip"), "zips that lie": archives, "odd files": odd_files}


@pytest.mark.parametrize("kind", MAKERS)
def test_hostile_weights(kind: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    proof, data, refused = tmp_path / "proof", 0, 0
    made = MAKERS[kind](proof, random.Random(kind))
    for number, content in enumerate(made):
        folder = tmp_path / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        for path in (folder / "model.pth", folder / "m.safetensors", folder / "checkpoints" / "step_00000001.pth"):
            path.write_bytes(content)
            try:
                load_newest(folder) if path.parent != folder else load_checkpoint(path)
                data += 1
            except ExpectedError as error:
                refused += "weights_only" not in str(error)  # torch's advice to run it
            assert not proof.exists(), "code was run"
    record_property(
        "seen", f"{len(made)} files, each as three kinds: {refused} refused, {data} read as data, no code run"
    )
