"""tools/visualize.py: every picture is drawn, of the size it should have, or one line says why not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from run_tool import run_tool
from search_runs import model_options


def test_rank_lists(world, tmp_path):
    folder, run, data = world
    options = ["--index", folder / "index", "--limit", 2, "--topk", 5, "--height", 64, *model_options(run)]
    result = run_tool("visualize.py", "ranks", data / "query", "--out", tmp_path / "both.png", *options)
    assert result.code == 0, result.err
    result = run_tool("visualize.py", "ranks", data / "query", "--out", tmp_path / "plain.png", "--plain", *options)
    both, plain = Image.open(tmp_path / "both.png"), Image.open(tmp_path / "plain.png")
    assert both.width == plain.width
    assert both.height == 2 * plain.height


def test_masks_of_the_nine_types(world, tmp_path):
    _, run, data = world
    out = ["--out", tmp_path / "deep" / "masks.jpg", "--limit", 2, "--height", 144]
    result = run_tool("visualize.py", "masks", data / "query", *out, *model_options(run))
    assert result.code == 0, result.err
    sheet = Image.open(tmp_path / "deep" / "masks.jpg")
    assert sheet.width == 9 * (72 + 8)
    assert np.asarray(sheet).std() > 20


def test_augmented_views_need_no_model(world, tmp_path):
    data = world[2]
    for preset, views in (("paper", 5), ("plus", 5)):
        out = ["--out", tmp_path / f"{preset}.png", "--limit", 2, "--preset", preset, "--height", 144]
        result = run_tool("visualize.py", "augmentation", data / "bounding_box_train", *out)
        assert result.code == 0, result.err
        assert Image.open(tmp_path / f"{preset}.png").width == views * (72 + 8)
    first = (tmp_path / "paper.png").read_bytes()
    run_tool("visualize.py", "augmentation", data / "bounding_box_train", "--limit", 2, "--height", 144,
             "--out", tmp_path / "again.png")  # fmt: skip
    assert (tmp_path / "again.png").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["augmentation", "nowhere", "--out", "x.png"], "there is no folder, CSV file or image"),
        (["augmentation", "{images}", "--out", "{tmp}/x.doc"], "cannot tell the format"),
        (["masks", "{images}", "--out", "{tmp}/x.png", "--weights", "w.pth"], "needs --config-file too"),
    ],
)
def test_errors_are_one_line(world, tmp_path, arguments, message):
    words = [word.format(images=world[2] / "query", tmp=tmp_path) for word in arguments]
    result = run_tool("visualize.py", *words)
    assert (result.code, len(result.err.strip().splitlines())) == (2, 1)
    assert message in result.err
