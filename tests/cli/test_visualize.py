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


def test_rank_lists_name_the_share_of_a_matched_type_and_need_no_mask(world, tmp_path):
    folder, run, data = world
    options = ["--index", folder / "index", "--limit", 1, "--topk", 3, "--height", 64, *model_options(run)]
    matched = ["--unification", "matched", "--blank", "image", "--fill", "black", "--type-set", "five"]
    result = run_tool("visualize.py", "ranks", data / "query", "--out", tmp_path / "m.png", *options, *matched)
    assert result.code == 0, result.err
    typed = run_tool("visualize.py", "ranks", data / "query", "--out", tmp_path / "t.png", *options)
    assert typed.code == 0, typed.err
    assert (tmp_path / "m.png").read_bytes() != (tmp_path / "t.png").read_bytes()


def test_a_model_without_masks_is_told(world, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node = onnx.helper.make_node("GlobalAveragePool", ["images"], ["descriptors"])
    kinds = [onnx.helper.make_tensor_value_info(name, 1, ["N", 3, *size]) for name, size in
             (("images", (32, 16)), ("descriptors", (1, 1)))]  # fmt: skip
    graph = onnx.helper.make_graph([node], "mean", kinds[:1], kinds[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "mean.onnx"))
    card = ["--input-size", 32, 16, "--pixel-mean", 0, 0, 0, "--pixel-std", 1, 1, 1, "--order", "RGB"]
    options = ["--out", tmp_path / "x.png", "--weights", tmp_path / "mean.onnx", *card]
    result = run_tool("visualize.py", "masks", world[2] / "query", *options)
    assert result.code == 2
    assert "mean.onnx has no mask to draw" in result.err
    index = ["index", world[2] / "bounding_box_test", "--out", tmp_path / "i", *options[2:]]
    assert run_tool("search.py", *index).code == 0
    ranks = ["ranks", world[2] / "query", "--index", tmp_path / "i", "--limit", 1, "--out", tmp_path / "r.png"]
    assert run_tool("visualize.py", *ranks).code == 0


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
        (["augmentation", "{images}", "--out", "{tmp}/x.psd"], "cannot tell the format"),
        (["augmentation", "{images}", "--out", "{tmp}/x.png", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["masks", "{images}", "--out", "{tmp}/x.png", "--weights", "w.pth"], "there is no file w.pth"),
        (
            ["masks", "{images}", "--out", "{tmp}/x.png", "--weights", "{tmp}/w.pth"],
            "w.pth needs the configuration it was trained with (--config-file FILE",
        ),
    ],
)
def test_errors_are_one_line(world, tmp_path, arguments, message):
    (tmp_path / "w.pth").touch()
    words = [word.format(images=world[2] / "query", tmp=tmp_path) for word in arguments]
    result = run_tool("visualize.py", *words)
    assert (result.code, len(result.err.strip().splitlines())) == (2, 1)
    assert message in result.err
