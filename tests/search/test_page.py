"""The page of a search: any model, with masks and without, and files that tried to break it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from index_crops import SIZE, make_crops, make_encoder
from PIL import Image
from torchvision.models.resnet import BasicBlock, ResNet

from oamn_plugin.occlusion import SIDES
from oamn_plugin.retrieval.unification import Unification
from oamn_plugin.search.calibration import Threshold
from oamn_plugin.search.encoder import ImageEncoder
from oamn_plugin.search.gallery import read_gallery
from oamn_plugin.search.index import GalleryIndex
from oamn_plugin.search.page import rank_rows, render_fragment, render_search
from oamn_plugin.search.results import read_pictures, results_json, search, to_document
from oamn_plugin.search.words import describe_type, to_text


def plain_encoder():
    torch.manual_seed(0)
    return ImageEncoder(ResNet(BasicBlock, [1, 1, 1, 1], num_classes=16), input_size=SIZE, name="some/resnet.pth")


ENCODERS = {
    "typed": lambda: make_encoder(),
    "matched": lambda: make_encoder(unification="matched"),
    "other model": plain_encoder,
}


@pytest.fixture(scope="module", params=ENCODERS)
def found(request, tmp_path_factory):
    """A model, the index of crops that it built, and what it found for three of them."""
    folder = tmp_path_factory.mktemp("page")
    make_crops(folder / "crops", 16)
    encoder = ENCODERS[request.param]()
    index = GalleryIndex(folder / "index", encoder)
    index.add(read_gallery(folder / "crops"))
    queries, pictures, _ = read_pictures(index.images[:3])
    threshold = Threshold(1e-6, 0.1, 10, 5, 50, 16, None, {})
    return encoder, index, search(index, encoder, queries, pictures, 4, threshold=threshold)[0]


def test_the_page_shows_masks_of_models_that_have_them_and_shares_of_matched_types(found):
    encoder, _, results = found
    page = render_search(results, encoder, "title", "lead")
    assert page.count('alt="mask of') == (3 * (1 + 8) if encoder.has_scorer else 0)
    matched = encoder.unification.kind == "matched"
    shown = sum(match.type_name != "none" for result in results for match in result.unified)
    assert page.count('class="strip"') == shown
    assert page.count('class="share"') == (shown if matched else 0)
    assert ("as the nearest matches say" in page) == matched
    assert "Model: " in page
    assert "Model: " in render_fragment(results, encoder)


def test_the_posterior_of_a_query_is_in_words_and_adds_up(found):
    encoder, index, results = found
    for result, plain in zip(results, results_json(results), strict=True):
        assert sum(plain["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        if encoder.unification.kind == "matched":
            assert plain["probabilities"][plain["type"]] == max(plain["probabilities"].values())
            assert f"hidden ({100 * result.confidence:.0f} % by the nearest matches)" in to_text([result])
    document = to_document(results, index, encoder, {}, {})
    assert document["model"]["name"] == encoder.name
    assert document["model"]["unification"]["kind"] == encoder.unification.kind


@pytest.mark.parametrize(("threshold", "said"), [(0.25, "% by the scorer)"), (1.0, "nothing hidden")])
def test_a_calibrated_scorer_says_what_hides_a_matched_query(tmp_path, threshold, said):
    fit = {"score_temperature": 20.0, "quarter_threshold": threshold, "half_threshold": threshold}
    encoder = make_encoder(unification="matched", **fit)
    make_crops(tmp_path / "crops", 8)
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "crops"))
    queries, pictures, _ = read_pictures(index.images[:2])
    results, described = search(index, encoder, queries, pictures, 4)
    for row, (result, plain) in enumerate(zip(results, results_json(results), strict=True)):
        assert said in describe_type(result)
        assert said in to_text([result])
        shares = (described.logits[row] / 20).softmax(0)
        assert list(plain["probabilities"].values()) == pytest.approx(shares.tolist(), abs=1e-5)
        assert (plain["judge"], plain["searched_as"]) == ("scorer", "matched")
        assert plain["type"] == (f"{SIDES[int(shares.argmax())]}_half" if threshold < 1 else "none")
    assert "as the scorer says" in render_search(results, encoder, "t", "l")


def test_a_plain_search_has_one_ranking(tmp_path):
    encoder = plain_encoder()
    encoder.unification = Unification("none")
    make_crops(tmp_path / "crops", 8)
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "crops"), types=["none"])
    queries, pictures, _ = read_pictures(index.images[:1])
    results, _ = search(index, encoder, queries, pictures, 4)
    page = render_search(results, encoder, "t", "l")
    assert (page.count('class="ranking"'), page.count("Unified"), page.count("unified")) == (1, 0, 0)
    assert "plain rank" not in to_text(results)
    assert results_json(results)[0]["unified"] == results_json(results)[0]["plain"]
    assert [row.title for row in rank_rows(results[0], 64)] == ["plain"]
    stranger = [query._replace(pid="") for query in queries]
    results, _ = search(index, encoder, stranger, pictures, 4, other_cameras=True)
    assert results[0].left_out is None


def test_what_other_cameras_leave_out_is_said(found):
    encoder, index, _ = found
    queries, pictures, _ = read_pictures(index.images[:2])
    results, _ = search(index, encoder, queries, pictures, 4, other_cameras=True)
    for result, query in zip(results, queries, strict=True):
        own = sum((image.pid, image.camid) == (query.pid, query.camid) for image in index.images)
        assert result.left_out == own > 0
        words = f"left out: {own} gallery image{'s' * (own > 1)} of this person in this camera"
        assert words in to_text([result])
        assert words in render_search([result], encoder, "t", "l")
        assert results_json([result])[0]["left_out"] == own


def test_nobody_is_said_everywhere(found):
    encoder, index, results = found
    far = [result for result in results if result.unified[0].distance > 1e-6]
    assert [one["nobody"] for one in results_json(results)] == [result in far for result in results]
    words = "nobody in this gallery: nearest distance"
    assert to_text(results).count(words) == len(far)
    assert render_search(results, encoder, "t", "l").count(words) == len(far)
    assert to_document(results, index, encoder, {}, {})["threshold"]["false_match_rate"] == 0.1


def test_one_unreadable_query_does_not_stop_the_others(found, tmp_path):
    _, index, _ = found
    (tmp_path / "broken.jpg").write_text("no image")
    images = [*index.images[:1], *read_gallery(tmp_path / "broken.jpg"), *index.images[1:2]]
    queries, pictures, unreadable = read_pictures(images)
    assert [query.path for query in queries] == [image.path for image in index.images[:2]]
    assert len(pictures) == 2
    assert list(unreadable) == [str(tmp_path / "broken.jpg")]


def test_a_comment_too_long_for_jpeg_does_not_break_the_page(tmp_path):
    encoder = plain_encoder()
    make_crops(tmp_path / "crops", 4)
    image = Image.new("RGB", (16, 32), (200, 30, 40))
    image.save(tmp_path / "crops" / "long.gif", comment=b"x" * 70_000)
    shutil.move(tmp_path / "crops" / "long.gif", tmp_path / "crops" / "0001_c9.jpg")
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "crops"))
    queries, pictures, _ = read_pictures(read_gallery(tmp_path / "crops" / "0001_c9.jpg"))
    results, _ = search(index, encoder, queries, pictures)
    assert "0001_c9.jpg" in render_search(results, encoder, "t", "l")


def test_escapes_in_names_reach_neither_terminal_nor_page(tmp_path):
    encoder = plain_encoder()
    paths = make_crops(tmp_path / "crops", 4)
    evil = tmp_path / "crops" / "\x1b[2J\u202e\udce9gnp.<b>.png"  # a byte that is no UTF-8 among them
    shutil.copy(paths[0], evil)
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(read_gallery(tmp_path / "crops"))
    queries, pictures, _ = read_pictures(read_gallery(evil))
    results, _ = search(index, encoder, queries, pictures)
    json.dumps(to_document(results, index, encoder, {}, {})).encode()
    for text in (to_text(results), render_search(results, encoder, "t", "l")):
        assert text.encode()
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\\x1b[2J" in text
    assert "<b>.png" not in render_search(results, encoder, "t", "l")
