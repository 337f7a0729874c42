"""Unification against the method written out image by image."""

from __future__ import annotations

import pytest
import torch

from oamn_plugin.modeling import OAMN, SplitModel, WholeModel
from oamn_plugin.occlusion import OCCLUSION_TYPES, TYPE_INDEX
from oamn_plugin.presets import Options
from oamn_plugin.retrieval import (
    Unification,
    blank_strip,
    cover_strip,
    describe_gallery,
    describe_queries,
    fill_colour,
    needed_types,
    occlusion_types,
    unification_of,
)

TYPED = Unification.of(Options())


class Counting(OAMN):
    """OAMN that remembers how many images it encoded."""

    encoded = 0

    def encode(self, images):
        self.encoded += len(images)
        return super().encode(images)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = Counting("mobilenet_v2", input_size=(64, 32)).eval()
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
    typed = Unification.of(Options(gallery_features=gallery_features))
    described = describe_gallery(model, images, names, typed)
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
def test_a_strip_is_covered_and_nothing_else(name, size):
    images = torch.randn(2, 3, *size)
    kept, black = images.clone(), torch.tensor([-1.0, -2.0, -3.0])
    out = cover_strip(images, name, black)
    assert torch.equal(images, kept), "the images themselves must stay"
    changed = (out != images).any(dim=1)
    share = changed.float().mean().item()
    assert share == pytest.approx(
        {"n": 0, "half": 0.5, "quarter": 0.25}[name.split("_")[-1].replace("none", "n")], abs=0.11
    )
    assert torch.equal(out.permute(0, 2, 3, 1)[changed], black.expand(int(changed.sum()), 3))


def test_queries_are_encoded_once_and_the_gallery_for_their_types_only(model, images):
    queries = describe_queries(model, [images[:4], images[4:]], TYPED)
    torch.testing.assert_close(queries.descriptors, model(images).detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(queries.descriptors.norm(dim=1), torch.ones(6))
    assert queries.type_names == [OCCLUSION_TYPES[t] for t in queries.types]
    names = needed_types(queries, TYPED)
    assert set(names) == set(queries.type_names)
    assert needed_types(queries, Unification("matched")) == OCCLUSION_TYPES
    assert needed_types(queries, Unification()) == ("none",)
    model.encoded = 0
    assert set(describe_gallery(model, images[:5], names, TYPED)) == set(names)
    assert model.encoded == 5 * len(names)


@pytest.mark.parametrize("gallery_features", ["occluded", "clean"])
def test_strips_on_the_features_cost_one_pass_of_e1(model, images, gallery_features):
    unification = Unification.of(Options(gallery_features=gallery_features), place="features")
    model.encoded = 0
    found = describe_gallery(model, images, ["none", "top_half"], unification)
    assert model.encoded == 6, "one pass of E1, whatever the number of types"
    with torch.no_grad():
        features = model.encode(images)
        cut = features.clone()
        cut[:, :, : features.shape[2] // 2] = 0
        mask, _ = model.attend(cut)
        expected = model.describe(model.apply_mask(cut if gallery_features == "occluded" else features, mask))
    torch.testing.assert_close(found["top_half"], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found["none"], model(images).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", OCCLUSION_TYPES[1:])
@pytest.mark.parametrize("cells", [(16, 8), (4, 2), (2, 1), (7, 5)])
def test_some_cells_are_blank_on_any_map(name, cells):
    cut = blank_strip(torch.ones(1, 2, *cells), name, (256, 128)) == 0
    assert cut.any()
    if cells == (16, 8):
        assert cut.float().mean().item() == (0.5 if name.endswith("half") else 0.25)
        top, left = ("top" in name) or "bottom" not in name, ("left" in name) or "right" not in name
        assert cut[0, 0, 0 if top else -1, 0 if left else -1]


def test_the_type_none_blanks_nothing():
    assert blank_strip(torch.ones(1, 2, 16, 8), "none", (256, 128)).all()


def test_matched_variants_of_an_oamn_have_their_own_masks_and_the_mean_colour(model, images):
    matched = Unification("matched", "image", "mean")
    found = describe_gallery(model, images, OCCLUSION_TYPES, matched)
    covered = images.clone()
    covered[..., 32:, :] = fill_colour("mean").view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(found["bottom_half"], model(covered), atol=1e-5, rtol=0)


@pytest.mark.parametrize("place", ["image", "features"])
def test_a_plain_model_is_an_oamn_without_mask(images, place):
    torch.manual_seed(0)
    oamn = OAMN("mobilenet_v2", input_size=(64, 32), mask_module=False).eval()
    network = torch.nn.Sequential(
        oamn.encoder_low, oamn.encoder_high, oamn.pool, torch.nn.Flatten(), oamn.feat_bn
    ).eval()
    plain = SplitModel(network, oamn.encoder_low) if place == "features" else WholeModel(network)
    matched = Unification("matched", place)
    expected, found = (describe_gallery(one, images, OCCLUSION_TYPES, matched) for one in (oamn, plain.eval()))
    for name in OCCLUSION_TYPES:
        torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=0)
    queries = describe_queries(plain, [images])
    torch.testing.assert_close(queries.descriptors, describe_queries(oamn, [images]).descriptors, atol=1e-6, rtol=0)
    assert queries.type_names == ["none"] * 6


def test_every_model_has_a_unification_of_its_own(model):
    assert unification_of(model) == TYPED
    assert unification_of(OAMN("mobilenet_v2", input_size=(64, 32), preset="plus").eval()).kind == "matched"
    assert unification_of(OAMN("mobilenet_v2", input_size=(64, 32), mask_module=False).eval()).kind == "matched"
    assert unification_of(WholeModel(torch.nn.Flatten())) == Unification("matched", "image")


def test_a_training_model_is_training_again_afterwards(images):
    model = OAMN("mobilenet_v2", input_size=(64, 32)).train()
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
        cover_strip(images, "left", torch.zeros(3))
    with pytest.raises(ValueError, match="cannot be cut at stride 16"):
        describe_gallery(WholeModel(torch.nn.Flatten()), images, ["none"], Unification("matched", "features"))
    for arguments in ({"kind": "weighted"}, {"place": "mask"}, {"fill": "grey"}, {"kind": "matched", "none_prior": 2}):
        with pytest.raises(ValueError, match="must"):
            Unification(**arguments)
