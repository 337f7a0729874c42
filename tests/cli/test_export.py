"""tools/export.py: the command writes graphs and their card, and notices graphs that compute something else."""

from __future__ import annotations

import json

import pytest
import torch
from run_tool import run_tool
from search_runs import make_run, model_options
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from oamn_plugin.cli import export
from oamn_plugin.modeling import OAMN
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.graphs import QueryGraph


def small_encoder(**options):
    torch.manual_seed(0)
    model = OAMN(ResNet(BasicBlock, [1, 1, 1, 1]), input_size=(64, 32), **options)
    nn.init.normal_(model.scorer.fc.weight, std=1.0)
    return ImageEncoder(model, input_size=(64, 32))


@pytest.fixture(scope="module")
def run_and_queries(embedded_root, tmp_path_factory):
    """A network of few layers, which torch traces one by one, and images."""
    run = make_run(tmp_path_factory.mktemp("export") / "run", embedded_root, arch="resnet18", dim=512)
    return run, next(embedded_root.glob("OccludedPedestrians-tiny*")) / "query"


def test_the_command(run_and_queries, tmp_path):
    run, queries = run_and_queries
    result = run_tool("export.py", "torch", tmp_path / "out", "--images", queries, *model_options(run))
    assert result.code == 0, result.err
    assert result.out.count("largest difference to torch") == 2
    card = json.loads((tmp_path / "out" / "graphs.json").read_text())
    assert card["images"]["shape"] == ["N", 3, 128, 64]
    assert card["dim"] == 512
    assert (tmp_path / "out" / card["gallery"]["file"]).stat().st_size > 1000
    assert card["images"]["input"] == "pixels"
    assert card["query"]["outputs"] == ["descriptors", "logits"]
    inside = {"graphs.json": ""}
    torch.export.load(tmp_path / "out" / card["query"]["file"], extra_files=inside)
    assert json.loads(inside["graphs.json"]) == card


def test_a_tracker_that_normalises_gets_a_graph_that_does_not(run_and_queries, tmp_path):
    run, queries = run_and_queries
    options = ["--input", "normalised", "--output", "descriptor", "--images", queries, *model_options(run)]
    assert run_tool("export.py", "torch", tmp_path / "out", *options).code == 0
    card = json.loads((tmp_path / "out" / "graphs.json").read_text())
    assert card["images"]["input"] == "normalised"
    assert card["query"]["outputs"] == ["descriptors"]
    program = torch.export.load(tmp_path / "out" / card["query"]["file"]).module()
    assert isinstance(program(torch.zeros(2, 3, 128, 64)), torch.Tensor)


def test_what_cannot_be_exported_is_one_line(tmp_path):
    (checkpoint := tmp_path / "w.pth").touch()
    needed = "w.pth needs the configuration it was trained with (--config-file FILE"
    for weights, message in (
        (checkpoint, needed),
        ("w.pth", "there is no file w.pth"),
        ("w.onnx", "is a network file already"),
    ):
        result = run_tool("export.py", "torch", tmp_path / "out", "--weights", weights)
        assert (result.code, len(result.err.strip().splitlines())) == (2, 1)
        assert message in result.err


def test_a_folder_of_other_files_is_not_written_into(tmp_path):
    (tmp_path / "0001_c1.jpg").write_bytes(b"")
    result = run_tool("export.py", "torch", tmp_path)
    assert (result.code, "holds other files, such as 0001_c1.jpg" in result.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["0001_c1.jpg"]
    (tmp_path / "0001_c1.jpg").rename(tmp_path / "query.pt2")  # an export that was interrupted
    assert "holds other files" not in run_tool("export.py", "torch", tmp_path, "--weights", "w.pth").err


def test_a_graph_that_computes_something_else_is_noticed():
    pixels = torch.randint(0, 256, (3, 3, 64, 32)).float()
    graph = QueryGraph(small_encoder())
    other = QueryGraph(small_encoder(mask_floor=0.5))

    def call(*inputs):
        with torch.no_grad():
            return list(other(*inputs))

    assert export.compare(graph, call, "query", pixels) > export.TOLERANCE
