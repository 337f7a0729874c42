"""Unification against the method written out image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from oamn_plugin.modeling import OAMN
from oamn_plugin.occlusion import OCCLUSION_TYPES, TYPE_INDEX
from oamn_plugin.presets import Options
from oamn_plugin.retrieval import evaluate_ranking
from oamn_plugin.retrieval.strips import cut_out
from oamn_plugin.retrieval.unification import (
    black_out,
    describe_gallery,
    describe_gallery_fast,
    describe_queries,
    occlusion_types,
    unify,
)


class Counting(OAMN):
    """OAMN that remembers how many images it encoded."""

    encoded = 0

    def encode(self, images):
        self.encoded += len(images)
        return super().encode(images)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Counting("resnet18", input_size=(64, 32)).eval()
    # an untrained scorer is sure of nothing: make it decided, so that several types occur
    torch.nn.init.normal_(model.scorer.fc.weight, std=3.0)
    return model


@pytest.fixture(scope="module")
def images():
    return torch.randn(6, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def one_by_one(model, image, name, gallery_features):
    """The descriptor of one gallery image for one type, as the method states it."""
    black = (0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    occluded = image.clone()
    rows, columns = {
        "none": (slice(0, 0), slice(0, 0)),
        "left_half": (slice(None), slice(0, 16)),
        "right_quarter": (slice(None), slice(24, 32)),
        "bottom_quarter": (slice(48, 64), slice(None)),
        "top_half": (slice(0, 32), slice(None)),
    }[name]
    for channel in range(3):
        occluded[channel, rows, columns] = black[channel]
    with torch.no_grad():
        features = model.encode(occluded[None])
        mask, _ = model.attend(features)
        if gallery_features == "clean":
            features = model.encode(image[None])
        return model.describe(model.apply_mask(features, mask))[0]


@pytest.mark.parametrize("gallery_features", ["occluded", "clean"])
def test_gallery_equals_the_method_image_by_image(model, images, gallery_features):
    names = ["none", "left_half", "right_quarter", "bottom_quarter", "top_half"]
    described = describe_gallery(model, images, names, Options(gallery_features=gallery_features))
    assert list(described) == names
    for name, descriptors in described.items():
        expected = torch.stack([one_by_one(model, image, name, gallery_features) for image in images])
        torch.testing.assert_close(descriptors, expected, atol=1e-5, rtol=0)


def test_types_follow_side_and_thresholds():
    rows = [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0.51, 0.49, 0, 0], [0, 0, 0.7, 0.3], [0, 0.1, 0, 0.9]]
    logits = (torch.tensor(rows) + 1e-9).log()
    types, confidence = occlusion_types(logits, 0.505, 0.75)
    assert [OCCLUSION_TYPES[t] for t in types] == ["none", "none", "left_quarter", "bottom_quarter", "top_half"]
    torch.testing.assert_close(confidence, torch.tensor([0.25, 0.5, 0.51, 0.7, 0.9]))
    assert types.dtype == torch.long
    assert occlusion_types(logits, 0.25, 0.3)[0].tolist() == [
        TYPE_INDEX[n] for n in ("none", "left_half", "left_half", "bottom_half", "top_half")
    ]


@pytest.mark.parametrize("name", OCCLUSION_TYPES)
@pytest.mark.parametrize("size", [(64, 32), (13, 7)])
def test_black_out_covers_the_strip_and_nothing_else(name, size):
    images = torch.randn(2, 3, *size)
    kept, black = images.clone(), torch.tensor([-1.0, -2.0, -3.0])
    out = black_out(images, name, black)
    assert torch.equal(images, kept), "the images themselves must stay"
    changed = (out != images).any(dim=1)
    share = changed.float().mean().item()
    assert share == pytest.approx(
        {"n": 0, "half": 0.5, "quarter": 0.25}[name.split("_")[-1].replace("none", "n")], abs=0.11
    )
    assert torch.equal(out.permute(0, 2, 3, 1)[changed], black.expand(int(changed.sum()), 3))


def test_queries_are_encoded_once_and_the_gallery_for_their_types_only(model, images):
    queries = describe_queries(model, [images[:4], images[4:]])
    torch.testing.assert_close(queries.descriptors, model(images).detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(queries.descriptors.norm(dim=1), torch.ones(6))
    assert queries.type_names == [OCCLUSION_TYPES[t] for t in queries.types]
    model.encoded = 0
    with unify(model, [images], [images[:3], images[3:5]]).store as store:
        types = len(set(queries.types.tolist()))
        assert model.encoded == 6 + types * 5
        assert len(store) == types


def test_evaluation_of_unified_distances(model, images):
    gallery = torch.randn(9, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    options = Options()
    unified = unify(model, images.split(4), gallery.split(5), options)
    pids = np.arange(6) % 3, np.arange(9) % 3
    result = evaluate_ranking(
        unified.queries.descriptors, unified.gallery, *pids, np.zeros(6), np.ones(9), query_types=unified.queries.types
    )
    described = describe_gallery(model, gallery, unified.queries.type_names, options)
    for q, name in enumerate(unified.queries.type_names):
        distances = (unified.queries.descriptors[q] - described[name]).pow(2).sum(1).numpy()
        order = distances.argsort(kind="stable")
        assert result.first_rank[q] == 1 + np.flatnonzero(pids[1][order] == pids[0][q])[0]
    assert sum(result.query_types.values()) == 6
    assert len(result.query_types) > 1
    unified.store.close()
    assert not unified.store.folder.exists()


def test_without_unification_every_query_meets_the_plain_gallery(model, images):
    options = Options(unify=False)
    unified = unify(model, [images], [images], options)
    assert list(unified.store) == ["none"]
    torch.testing.assert_close(torch.from_numpy(np.array(unified.gallery)), unified.queries.descriptors)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_the_plain_distance(model, images, share):
    options, names = Options(plain_share=share), ["none", "left_half"]
    query = describe_queries(model, [images], options).descriptors
    mixed = describe_gallery(model, images, names, options)
    own = describe_queries(model, [images]).descriptors
    unmixed = describe_gallery(model, images, names, replace(options, plain_share=0.0))

    def squared(a, b):
        return torch.cdist(a.double(), b.double()).pow(2)

    for name in names:
        expected = (1 - share) * squared(own, unmixed[name]) + share * squared(own, unmixed["none"])
        torch.testing.assert_close(squared(query, mixed[name]), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("gallery_features", ["occluded", "clean"])
def test_fast_mode_cuts_the_strip_out_of_the_features(model, images, gallery_features):
    options = Options(gallery_features=gallery_features)
    model.encoded = 0
    fast = describe_gallery_fast(model, images, ["none", "top_half"], options)
    assert model.encoded == 6, "one pass of E1, whatever the number of types"
    with torch.no_grad():
        features = model.encode(images)
        cut = features.clone()
        cut[:, :, : features.shape[2] // 2] = 0
        mask, _ = model.attend(cut)
        expected = model.describe(model.apply_mask(cut if gallery_features == "occluded" else features, mask))
    torch.testing.assert_close(fast["top_half"], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast["none"], model(images).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", OCCLUSION_TYPES[1:])
@pytest.mark.parametrize("cells", [(16, 8), (4, 2), (2, 1), (7, 5)])
def test_fast_mode_cuts_some_cells_on_any_map(name, cells):
    cut = cut_out(torch.ones(1, 2, *cells), name, (256, 128)) == 0
    assert cut.any()
    if cells == (16, 8):
        assert cut.float().mean().item() == (0.5 if name.endswith("half") else 0.25)
        top, left = ("top" in name) or "bottom" not in name, ("left" in name) or "right" not in name
        assert cut[0, 0, 0 if top else -1, 0 if left else -1]


def test_a_training_model_is_training_again_afterwards(images):
    model = OAMN("resnet18", input_size=(64, 32)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    describe_queries(model, [images])
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_errors_say_what_is_wrong(model, images):
    with pytest.raises(ValueError, match="no query image"):
        describe_queries(model, [])
    with pytest.raises(ValueError, match="normalised float tensors"):
        describe_queries(model, [images.to(torch.uint8)])
    with pytest.raises(ValueError, match="unknown occlusion type 'left'"):
        black_out(images, "left")
