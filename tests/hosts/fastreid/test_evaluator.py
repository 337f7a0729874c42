"""The evaluators against ten straight lines: every descriptor made one by one, every query ranked by a full sort."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import described_images
from tiny_fastreid import RESNET18, changed, tiny_config
from torch import Tensor, nn

from oamn_plugin.datasets.records import Record
from oamn_plugin.hosts.fastreid import data
from oamn_plugin.hosts.fastreid.config import oamn_options
from oamn_plugin.hosts.fastreid.evaluator import OcclusionUnifiedEvaluator
from oamn_plugin.hosts.fastreid.inference import encoder_of
from oamn_plugin.hosts.fastreid.loaders import build_test_loader
from oamn_plugin.hosts.fastreid.preflight import check_settings
from oamn_plugin.hosts.fastreid.trainer import Trainer
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.modeling.precision import has_bfloat16
from oamn_plugin.occlusion import OCCLUSION_TYPES, SIDES, strip
from oamn_plugin.retrieval import blank_strip

SCORES = ("Rank-1", "Rank-3", "Rank-5", "Rank-10", "Rank-20", "mAP", "mAP_trapezoid", "mINP")
KEYS = {*SCORES, "num_query", "num_gallery", "query_types", "seconds_per_1000_gallery"}


@pytest.fixture(scope="module")
def records(embedded_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Record], list[Record]]:
    """Queries and gallery in a folder where nothing of the truth is known."""
    folder = tmp_path_factory.mktemp("copies")
    cfg = tiny_config("OAMN", embedded_root, folder)
    split = data.build_dataset(cfg, "OccludedPedestrians")
    query, gallery = (
        [Record(shutil.copy(item[0], folder), *item[1:]) for item in items] for items in (split.query, split.gallery)
    )
    return query, gallery


def build(base: str, root: Path, output: Path, **changes: Any) -> tuple[Any, nn.Module]:
    cfg = changed(tiny_config(base, root, output, **changes), MODEL__HEADS__NUM_CLASSES=4)
    torch.manual_seed(0)
    return cfg, Trainer.build_model(cfg).eval()


def give_opinions(cfg: Any, model: nn.Module, query: list[Record]) -> nn.Module:
    """A scorer that tells these queries apart, so that many types occur."""
    scorer = model.oamn.scorer
    with torch.inference_mode():
        nn.init.normal_(scorer.fc.weight, std=0.1, generator=torch.Generator().manual_seed(1))
        scorer.bn.momentum = 1.0
        scorer.bn.train()
        model.oamn.attend(model.oamn.encode(model.normalise(pixels(cfg, query))))
        scorer.bn.eval()
    return model


def pixels(cfg: Any, records: list[Record]) -> Tensor:
    return torch.cat([images for _, images, _ in build_test_loader(cfg, records)]).float()


def describe(model: nn.Module, image: Tensor, clean: Tensor | None = None) -> tuple[Tensor, Tensor]:
    core = model.oamn
    features = core.encode(image)
    mask, logits = core.attend(features)
    return core.describe(core.apply_mask(features if clean is None else core.encode(clean), mask))[0], logits[0]


def straight_distances(cfg: Any, model: nn.Module, query: Tensor, gallery: Tensor) -> tuple[np.ndarray, list[str]]:
    options, names, rows = oamn_options(cfg), [], []
    described: dict[str, list[Tensor]] = {}
    for image in query:
        own, logits = describe(model, model.normalise(image[None]))
        confidence, side = logits.softmax(0).max(0)
        name = "none"
        if confidence > 0.5:
            name = f"{SIDES[side]}_{'half' if confidence > 0.75 else 'quarter'}"
        names.append(name)
        if name not in described:
            described[name] = [occluded_descriptor(model, other, name, options.gallery_features) for other in gallery]
        rows.append([float((own - one).square().sum()) for one in described[name]])
    return np.array(rows), names


def occluded_descriptor(model: nn.Module, image: Tensor, name: str, features: str) -> Tensor:
    black = image.clone()
    top, left, height, width = strip(name, *black.shape[-2:])
    black[:, top : top + height, left : left + width] = 0
    clean = model.normalise(image[None]) if features == "clean" else None
    return describe(model, model.normalise(black[None]), clean)[0]


def straight_scores(distances: np.ndarray, query: list[Record], gallery: list[Record]) -> dict[str, float]:
    first, ap, trapezoid, inp = [], [], [], []
    for q, row in zip(query, distances, strict=True):
        order = [i for i in np.argsort(row) if (gallery[i].pid, gallery[i].camid) != (q.pid, q.camid)]
        hits = [rank for rank, i in enumerate(order, start=1) if gallery[i].pid == q.pid]
        first.append(hits[0])
        ap.append(np.mean([(n + 1) / rank for n, rank in enumerate(hits)]))
        inp.append(len(hits) / hits[-1])
        before = [n / (rank - 1) if rank > 1 else 1.0 for n, rank in enumerate(hits)]
        trapezoid.append(np.mean([(b + (n + 1) / rank) / 2 for n, (b, rank) in enumerate(zip(before, hits))]))  # noqa: B905
    found = {f"Rank-{k}": np.mean([rank <= k for rank in first]) for k in (1, 3, 5, 10, 20)}
    found |= {"mAP": np.mean(ap), "mAP_trapezoid": np.mean(trapezoid), "mINP": np.mean(inp)}
    return {key: 100 * float(value) for key, value in found.items()}


def assert_scores(found: dict[str, Any], expected: dict[str, float]) -> None:
    assert {key: found[key] for key in SCORES} == pytest.approx(expected, abs=1e-6)


Both = tuple[list[Record], list[Record]]


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_unification_equals_the_straight_version(
    preset: str, records: Both, embedded_root: Path, tmp_path: Path
) -> None:
    cfg, model = build("OAMN", embedded_root, tmp_path, **RESNET18, MODEL__OAMN__PRESET=preset)
    found = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(give_opinions(cfg, model, records[0]))
    with torch.inference_mode():
        distances, names = straight_distances(cfg, model, pixels(cfg, records[0]), pixels(cfg, records[1]))
    assert found["query_types"] == {name: names.count(name) for name in OCCLUSION_TYPES if name in names}
    assert len(found["query_types"]) >= 3, "the test must see several types"
    assert_scores(found, straight_scores(distances, *records))


@pytest.mark.parametrize(("base", "place"), [("OAMN", "image"), ("bagtricks", "image"), ("bagtricks", "features")])
def test_matched_unification_equals_the_straight_version(
    base: str, place: str, records: Both, embedded_root: Path, tmp_path: Path
) -> None:
    changes = {"TEST__UNIFICATION": "matched", "TEST__BLANK": place, "TEST__MATCHED__TEMPERATURE": 0.1}
    cfg, model = build(base, embedded_root, tmp_path, **RESNET18, **changes)  # whose stages are known below
    found = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)
    prior, terms = [0.8, *[0.025] * 8], 0.0
    with torch.inference_mode():
        query, gallery = (pixels(cfg, part) for part in records)
        own = torch.stack([plain_descriptor(model, image, "none", place) for image in query])
        for name, share in zip(OCCLUSION_TYPES, prior, strict=True):
            side = torch.stack([plain_descriptor(model, image, name, place) for image in gallery])
            terms = terms + share * torch.exp(-torch.cdist(own.double(), side.double()).square() / 0.1)
    assert_scores(found, straight_scores(-0.1 * np.log(np.asarray(terms)), *records))
    with np.load(tmp_path / "per_query" / "Set.npz", allow_pickle=False) as stored:
        assert stored["posterior"].shape == (12, 9)
        assert stored["posterior"].sum(1) == pytest.approx(np.ones(12), abs=1e-4)


def plain_descriptor(model: nn.Module, image: Tensor, name: str, place: str) -> Tensor:
    """The descriptor of an image under a strip of the mean colour, or of zeros on the map at stride 16."""
    top, left, height, width = strip(name, *image.shape[-2:])
    image, whole = image.clone(), image.clone()
    for channel, value in enumerate((124, 116, 104)):
        image[channel, top : top + height, left : left + width] = value
    if hasattr(model, "oamn"):
        return describe(model, model.normalise(image[None]))[0]
    if place == "image":
        return nn.functional.normalize(model({"images": image[None].clone()}))[0]
    backbone = model.backbone
    stages = [backbone.conv1, backbone.bn1, backbone.relu, backbone.maxpool, *backbone.layer1, *backbone.layer2]
    features = nn.Sequential(*stages, *backbone.layer3)(model.preprocess_image({"images": whole[None]}))
    features = blank_strip(features, name, image.shape[-2:])
    return nn.functional.normalize(model.heads(nn.Sequential(*backbone.layer4)(features)))[0]


@pytest.mark.parametrize("key", ["TEST__RERANK__ENABLED", "TEST__AQE__ENABLED"])
def test_what_matched_unification_does_not_define_is_found_before_any_encoding(
    key: str, embedded_root: Path, tmp_path: Path
) -> None:
    cfg = changed(tiny_config("bagtricks", embedded_root, tmp_path), TEST__UNIFICATION="matched", **{key: True})
    assert "matched unification" in "".join(check_settings(cfg, train=False))


def test_a_matched_roc_is_reported(records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, model = build("bagtricks", embedded_root, tmp_path, TEST__UNIFICATION="matched", TEST__ROC__ENABLED=True)
    found = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)
    assert 0 <= found["TPR@FPR=1e-02"] <= 100


@pytest.mark.parametrize("base", ["bagtricks", "AGW", "SBS", "MGN", "OAMN"])
def test_every_meta_architecture_runs_matched_on_its_features(base: str, embedded_root: Path, tmp_path: Path) -> None:
    # the host builds MGN's branches of no other depth, and cuts its map into three
    mgn = {**RESNET18, "MODEL__BACKBONE__DEPTH": "50x", "MODEL__BACKBONE__FEAT_DIM": 2048, "INPUT__SIZE_TEST": [96, 48]}
    cfg, model = build(base, embedded_root, tmp_path, TEST__UNIFICATION="matched", **(mgn if base == "MGN" else {}))
    with torch.inference_mode():
        encoder = encoder_of(cfg, model)
        assert encoder.model.blanks_features
        assert encoder.unification.place == "features"
        images = torch.rand(2, 3, *cfg.INPUT.SIZE_TEST) * 255
        found = encoder.model.embed(encoder.model.encode(encoder.normalise(images)))
        torch.testing.assert_close(found, nn.functional.normalize(model({"images": images.clone()})), atol=1e-5, rtol=0)


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU does not compute in bfloat16")
@pytest.mark.parametrize("base", ["OAMN", "bagtricks"])
def test_mixed_precision_describes_and_does_not_rank(
    base: str, records: Both, embedded_root: Path, tmp_path: Path
) -> None:
    cfg, model = build(base, embedded_root, tmp_path, TEST__AMP=True)
    encoder, seen = (model.oamn.encoder_low if base == "OAMN" else model.backbone), set()
    encoder.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    half = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)
    assert seen == {torch.bfloat16}
    seen.clear()
    whole = OcclusionUnifiedEvaluator(changed(cfg, TEST__AMP=False), "Set", *records).run(model)
    assert seen == {torch.float32}
    assert half["mAP"] == pytest.approx(whole["mAP"], abs=5)  # the same images come first, whatever the last digits


@pytest.mark.parametrize("changes", [{"TEST__UNIFICATION": "none"}, {"MODEL__OAMN__MASK_MODULE": False}])
def test_plain_matching_of_oamn(changes: dict[str, Any], records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, model = build("OAMN", embedded_root, tmp_path, **changes)
    with torch.inference_mode():
        query, gallery = (
            torch.stack([describe(model, model.normalise(image[None]))[0] for image in pixels(cfg, part)])
            for part in records
        )
    expected = straight_scores(torch.cdist(query, gallery).square().numpy(), *records)
    assert_scores(OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model), expected)


@pytest.mark.parametrize(
    "changes", [{}, {"TEST__METRIC": "euclidean"}, {"TEST__FLIP__ENABLED": True}, {"TEST__CHUNK_SIZE": 5}]
)
def test_a_baseline_is_matched_plainly(
    changes: dict[str, Any], records: Both, embedded_root: Path, tmp_path: Path
) -> None:
    cfg, model = build("bagtricks", embedded_root, tmp_path, **changes)
    parts = []
    with torch.inference_mode():
        for part in records:
            images = pixels(cfg, part)
            found = model({"images": images.clone()})
            if cfg.TEST.FLIP.ENABLED:
                found = (found + model({"images": images.flip(3)})) / 2
            parts.append(nn.functional.normalize(found) if cfg.TEST.METRIC == "cosine" else found)
    expected = straight_scores(torch.cdist(*parts).numpy(), *records)
    found = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)
    assert_scores(found, expected)
    assert set(found) == KEYS
    assert found["query_types"] == {"none": 12}


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_queries_are_encoded_once_and_the_gallery_for_the_types_that_occur_alone(
    preset: str, records: Both, embedded_root: Path, tmp_path: Path
) -> None:
    cfg, model = build("OAMN", embedded_root, tmp_path, MODEL__OAMN__PRESET=preset)
    give_opinions(cfg, model, records[0])
    encoded: list[int] = []
    model.oamn.encoder_low.register_forward_hook(lambda _, args, __: encoded.append(len(args[0])))
    found = OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)
    types = set(found["query_types"])
    clean = preset == "official" or "none" in types  # the released code needs the clean features of every image
    assert sum(encoded) == 12 + 24 * (len(types - {"none"}) + clean)


def test_an_unsure_scorer_costs_one_encoding_an_image(records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, model = build("OAMN", embedded_root, tmp_path)
    nn.init.zeros_(model.oamn.scorer.fc.weight)
    encoded: list[int] = []
    model.oamn.encoder_low.register_forward_hook(lambda _, args, __: encoded.append(len(args[0])))
    assert OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model)["query_types"] == {"none": 12}
    assert sum(encoded) == 36


@pytest.mark.parametrize("base", ["OAMN", "bagtricks"])
def test_batches_and_workers_change_nothing(base: str, records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, model = build(base, embedded_root, tmp_path)
    found = []
    for size, workers in ((16, 0), (5, 1)):
        other = changed(cfg, TEST__IMS_PER_BATCH=size, TEST__NUM_WORKERS=workers)
        found.append(OcclusionUnifiedEvaluator(other, "Set", *records).run(model))
    assert {key: found[0][key] for key in SCORES} == pytest.approx({key: found[1][key] for key in SCORES}, abs=1e-6)


def test_results_hold_the_documented_keys_and_every_query(
    embedded_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = described_images(monkeypatch)
    tests = ["OccludedPedestrians", "OccludedPedestriansHolistic"]
    cfg, model = build("OAMN", embedded_root, tmp_path, DATASETS__TESTS=tests)
    Trainer.test(cfg, model, note={"weights": "none"})
    assert sum(described) == 24  # one gallery for both
    results = json.loads((tmp_path / "results.json").read_text())
    truth = {"mask_auc", "mask_iou", "type_accuracy", "side_accuracy", "scorer_side_accuracy"}
    assert list(results) == tests
    assert set(results[tests[0]]) == KEYS | truth
    assert set(results[tests[1]]) >= KEYS
    for name in tests:
        assert results[name]["num_query"] == sum(results[name]["query_types"].values()) == 12
        assert results[name]["num_gallery"] == 24
        assert all(0 <= results[name][key] <= 100 for key in (*SCORES, *(truth & set(results[name]))))
        with np.load(tmp_path / "per_query" / f"{name}.npz", allow_pickle=False) as found:
            assert 100 * found["ap"].mean() == pytest.approx(results[name]["mAP"])
            assert 100 * found["inp"].mean() == pytest.approx(results[name]["mINP"])
            assert 100 * (found["first_rank"] == 1).mean() == pytest.approx(results[name]["Rank-1"])
            assert {"ap_trapezoid", "valid", "pids", "camids", "types", "confidence", "paths"} <= set(found)
            assert all(Path(path).exists() for path in found["paths"])


def test_testing_leaves_the_model_as_it_was(records: Both, embedded_root: Path, tmp_path: Path) -> None:
    for base in ("OAMN", "bagtricks"):
        cfg, model = build(base, embedded_root, tmp_path)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        OcclusionUnifiedEvaluator(cfg, "Set", *records).run(model.train())
        assert model.training
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_unreadable_images_fail_or_are_left_out(records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, model = build("OAMN", embedded_root, tmp_path, INPUT__BAD_IMAGES="skip")
    query, gallery = list(records[0]), list(records[1])
    for part, at in ((query, 3), (gallery, 7)):
        bad = tmp_path / f"bad{at}.jpg"
        bad.write_bytes(b"no image")
        part[at] = part[at]._replace(path=str(bad))
    found = OcclusionUnifiedEvaluator(cfg, "Set", query, gallery).run(model)
    assert (found["num_query"], found["num_gallery"], found["skipped_images"]) == (11, 23, 2)
    del query[3], gallery[7]
    assert_scores(found, {key: OcclusionUnifiedEvaluator(cfg, "Set", query, gallery).run(model)[key] for key in SCORES})


def test_what_cannot_be_evaluated_says_so(records: Both, embedded_root: Path, tmp_path: Path) -> None:
    cfg, _ = build("OAMN", embedded_root, tmp_path)
    with pytest.raises(ConfigError, match="Set has 12 queries and 0 gallery images"):
        OcclusionUnifiedEvaluator(cfg, "Set", records[0], [])
    cfg = tiny_config("OAMN", embedded_root, tmp_path)
    assert "a flip changes the sides" in "".join(check_settings(changed(cfg, TEST__FLIP__ENABLED=True), train=False))
