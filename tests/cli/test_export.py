"""tools/export.py: what other runtimes compute is what torch and the gallery index compute."""

from __future__ import annotations

import json

import pytest
import torch
from run_tool import run_tool
from search_runs import model_options
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from oamn_plugin.cli import export
from oamn_plugin.modeling import OAMN
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.graphs import GalleryGraph, QueryGraph

READINGS = [{}, {"gallery_features": "clean"}, {"mask_floor": 0.5, "plain_share": 0.3}, {"mask_module": False}]


def small_encoder(**options):
    torch.manual_seed(0)
    model = OAMN(ResNet(BasicBlock, [1, 1, 1, 1]), input_size=(64, 32), **options)
    if model.scorer is not None:
        nn.init.normal_(model.scorer.fc.weight, std=1.0)
    return ImageEncoder(model, input_size=(64, 32))


@pytest.mark.parametrize("options", READINGS)
def test_graphs_are_the_librarys_descriptors(options):
    encoder = small_encoder(**options)
    pixels = torch.randint(0, 256, (9, 3, 64, 32)).float()
    with torch.no_grad():
        descriptors, logits = QueryGraph(encoder)(pixels)
        described = encoder.queries([pixels])
        torch.testing.assert_close(descriptors, described.descriptors, atol=1e-5, rtol=0)
        torch.testing.assert_close(logits, described.logits, atol=1e-4, rtol=1e-4)
        found = GalleryGraph(encoder)(pixels, torch.arange(9))
    for index, name in enumerate(OCCLUSION_TYPES):
        expected = encoder.gallery(pixels[index : index + 1], [name])[name][0]
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=0)


def test_graphs_of_weighted_unification_describe_for_every_type_at_once():
    encoder = small_encoder(unification="weighted", plain_share=0.2)
    pixels = torch.randint(0, 256, (9, 3, 64, 32)).float()
    with torch.no_grad():
        descriptors, logits = QueryGraph(encoder)(pixels)
        found = GalleryGraph(encoder)(pixels, torch.arange(9))
    described = encoder.queries([pixels])
    torch.testing.assert_close(descriptors, described.descriptors, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits, described.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found, encoder.gallery(pixels, ["none"])["none"], atol=1e-5, rtol=0)


def test_onnx_with_any_batch(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = small_encoder()
    pixels = torch.randint(0, 256, (9, 3, 64, 32), generator=torch.Generator().manual_seed(0)).float()
    for name, graph in (("query", QueryGraph(encoder)), ("gallery", GalleryGraph(encoder))):
        path = tmp_path / f"{name}.onnx"
        export.write_onnx(graph, export.inputs_of(name, pixels, 2), path)
        assert export.compare(graph, export.load_onnx(path), name, pixels) < 1e-4
        assert len(list(tmp_path.glob(f"{name}*"))) == 1, "weights lie inside"


def test_the_command(world, tmp_path):
    _, run, data = world
    result = run_tool("export.py", "torch", tmp_path / "out", "--images", data / "query", *model_options(run))
    assert result.code == 0, result.err
    assert result.out.count("largest difference to torch") == 2
    card = json.loads((tmp_path / "out" / "graphs.json").read_text())
    assert card["images"]["shape"] == ["N", 3, 128, 64]
    assert card["dim"] == 512
    assert (tmp_path / "out" / card["gallery"]["file"]).stat().st_size > 1000
    assert run_tool("export.py", "torch", tmp_path, "--weights", "w.pth").code == 2


def test_a_graph_that_computes_something_else_is_noticed():
    pixels = torch.randint(0, 256, (3, 3, 64, 32)).float()
    graph = QueryGraph(small_encoder())
    other = QueryGraph(small_encoder(mask_floor=0.5))

    def call(*inputs):
        with torch.no_grad():
            return list(other(*inputs))

    assert export.compare(graph, call, "query", pixels) > export.TOLERANCE
