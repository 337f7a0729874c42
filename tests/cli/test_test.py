"""oamn test: any model on published sets, plain and matched; what is wrong is one message."""

from __future__ import annotations

import json

import numpy as np
import pytest
from counting import described_images
from PIL import Image

from oamn_plugin.cli.main import run


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Partial-iLIDS in miniature: five people whose lower half the probe lacks."""
    root, generator = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    for part in ("Probe", "Gallery"):
        (root / "Partial_iLIDS" / part).mkdir(parents=True)
    for person in range(1, 6):
        pixels = generator.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        whole = Image.fromarray(pixels).resize((64, 128), Image.Resampling.BICUBIC)
        whole.save(root / "Partial_iLIDS" / "Gallery" / f"{person}.png")
        whole.crop((0, 0, 64, 64)).save(root / "Partial_iLIDS" / "Probe" / f"{person}.png")
    return root


def test_every_kind_of_unification_is_scored_and_kept(root, tmp_path, capsys):
    words = ["--on", "PartialiLIDS", "--root", str(root), "--output", str(tmp_path), "--unification", "none", "matched"]
    assert run("test", words) == 0
    for kind in ("none", "matched"):
        scores = json.loads((tmp_path / kind / "results.json").read_text())["PartialiLIDS"]
        assert (scores["num_query"], scores["num_gallery"]) == (5, 5)
        queries = np.load(tmp_path / kind / "per_query" / "PartialiLIDS.npz")
        assert scores["Rank-1"] == pytest.approx(100 * (queries["first_rank"] == 1).mean())
        assert json.loads((tmp_path / kind / "results_note.json").read_text())["unification"]["kind"] == kind
    printed = capsys.readouterr().out
    assert "plain matching" in printed
    assert "matched over nine types" in printed


def test_the_generated_set_could_not_be_named(embedded_root, tmp_path, monkeypatch):
    described = described_images(monkeypatch)
    sets = ["--on", "OccludedPedestrians", "OccludedPedestriansHolistic", "--size", "tiny"]
    words = [*sets, "--root", str(embedded_root), "--output", str(tmp_path), "--unification", "none"]
    assert run("test", words) == 0
    scores = json.loads((tmp_path / "none" / "results.json").read_text())
    assert [one["num_query"] for one in scores.values()] == [12, 12]
    assert scores["OccludedPedestrians"]["mAP"] < scores["OccludedPedestriansHolistic"]["mAP"]
    assert sum(described) == 24  # one gallery for both


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--on", "PartialLIDS"], "unknown data set 'PartialLIDS'. Did you mean 'PartialiLIDS'?"),
        (["--on", "PartialREID"], "Partial-REID was not found"),
        (["--on", "PartialiLIDS", "--weights", "none.onnx"], "none.onnx"),
        (
            ["--on", "PartialREID", "--weights", "none.onnx"],
            "shows all names.\n  - PartialREID: Partial-REID was",
        ),
    ],
)
def test_what_is_wrong_is_one_message(words, message, root, tmp_path, capsys):
    assert run("test", [*words, "--root", str(root), "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())
