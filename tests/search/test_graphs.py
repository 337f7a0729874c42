"""What other runtimes compute is what torch and the evaluator compute, for any model and input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from index_crops import SIZE, make_encoder
from torchvision.models.resnet import BasicBlock, ResNet

from oamn_plugin.cli import export
from oamn_plugin.occlusion import OCCLUSION_TYPES
from oamn_plugin.retrieval import evaluate_ranking
from oamn_plugin.retrieval.matching import Matching
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.graphs import GalleryGraph, QueryGraph, describe_graphs, exported_unification


def plain_encoder(size=SIZE):
    torch.manual_seed(0)
    return ImageEncoder(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=16), input_size=size)


def as_exported(encoder):
    encoder.unification = exported_unification(encoder)
    return encoder


READINGS = {
    "paper": lambda: make_encoder(),
    "clean gallery features": lambda: make_encoder(gallery_features="clean"),
    "mask floor": lambda: make_encoder(mask_floor=0.5),
    "matched on the features": lambda: make_encoder(unification="matched"),
    "no mask module": lambda: make_encoder(mask_module=False),
    "other model": lambda: as_exported(plain_encoder()),
}


@pytest.mark.parametrize("takes", ["pixels", "normalised"])
@pytest.mark.parametrize("reading", READINGS)
def test_graphs_are_the_librarys_descriptors(reading, takes):
    encoder = READINGS[reading]()
    pixels = torch.randint(0, 256, (9, 3, *SIZE)).float()
    images = pixels if takes == "pixels" else encoder.normalise(pixels)
    with torch.no_grad():
        found = QueryGraph(encoder, takes)(images)
        described = encoder.queries([pixels])
        if encoder.has_scorer:
            found, logits = found
            torch.testing.assert_close(logits, described.logits, atol=1e-4, rtol=1e-4)
            alone = QueryGraph(encoder, takes, scored=False)(images)
            torch.testing.assert_close(alone, found, atol=0, rtol=0)
        torch.testing.assert_close(found, described.descriptors, atol=1e-5, rtol=0)
        found = GalleryGraph(encoder, takes)(images, torch.arange(9))
    for index, name in enumerate(OCCLUSION_TYPES):
        expected = encoder.gallery(pixels[index : index + 1], [name])[name][0]
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [lambda: make_encoder(unification="matched"), plain_encoder])
def test_onnxruntime_gives_the_evaluators_matched_scores(make, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = as_exported(make())
    pixels = torch.randint(0, 256, (24, 3, *SIZE), generator=torch.Generator().manual_seed(0)).float()
    card = describe_graphs(encoder, "onnx", "pixels", encoder.has_scorer)
    run = {}
    for name, graph in (("query", QueryGraph(encoder)), ("gallery", GalleryGraph(encoder))):
        path = tmp_path / f"{name}.onnx"
        export.write_onnx(graph, export.inputs_of(name, pixels, 2), path, card)
        run[name] = export.load_onnx(path)
        assert export.compare(graph, run[name], name, pixels[:9]) < 1e-4
        assert len(list(tmp_path.glob(f"{name}*"))) == 1, "weights lie inside"
        words = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
        assert '"input": "pixels"' in words["images"]
        assert '"kind": "matched"' in words["unification"]
    matching = Matching(
        card["matching"]["types"], torch.tensor(card["matching"]["prior"]), card["matching"]["temperature"]
    )
    labels = np.arange(8) // 2, np.arange(16) // 4, np.zeros(8, int), np.ones(16, int)
    query = torch.from_numpy(run["query"](pixels[:8])[0])
    numbers = {name: torch.full((16,), OCCLUSION_TYPES.index(name)) for name in matching.types}
    gallery = {name: torch.from_numpy(run["gallery"](pixels[8:], number)[0]) for name, number in numbers.items()}
    found = evaluate_ranking(query, gallery, *labels, matching=matching).to_percent()
    own = encoder.queries([pixels[:8]]).descriptors, encoder.gallery(pixels[8:], matching.types)
    expected = evaluate_ranking(*own, *labels, matching=encoder.unification.matching()).to_percent()
    for key in ("Rank-1", "mAP", "mINP"):
        assert found[key] == pytest.approx(expected[key], abs=1e-4)


def test_the_card_says_what_goes_in_and_how_types_are_matched():
    encoder = plain_encoder()
    card = describe_graphs(encoder, "onnx", "normalised", False)
    assert card["images"]["normalisation"]["mean"] == encoder.pixel_mean
    assert "range" not in card["images"]
    assert card["query"]["outputs"] == ["descriptors"]
    assert "logits" not in card
    assert card["matching"]["types"] == list(OCCLUSION_TYPES)
    assert sum(card["matching"]["prior"]) == pytest.approx(1, abs=1e-6)
    assert card["unification"]["fill"] == "mean"
    assert describe_graphs(make_encoder(), "onnx", "pixels", True)["logits"] == ["left", "right", "bottom", "top"]
