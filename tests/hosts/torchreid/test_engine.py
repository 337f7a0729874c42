from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import described_images
from tiny_torchreid import SIZE, TARGETS, liven, require_torchreid, tiny_config, tiny_datamanager

require_torchreid()

import torchreid  # noqa: E402

from oamn_plugin.augmentation import Geometry, OcclusionAugmentation  # noqa: E402
from oamn_plugin.datasets.cutouts import write_cutouts  # noqa: E402
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, load_newest, step_files  # noqa: E402
from oamn_plugin.hosts.shared.errors import BadLossError, CheckpointError, ConfigError  # noqa: E402
from oamn_plugin.hosts.shared.evaluation import host_encoder  # noqa: E402
from oamn_plugin.hosts.shared.weights import load_weights  # noqa: E402
from oamn_plugin.hosts.torchreid import ImageOAMNEngine, SoftmaxEngine, TripletEngine, register  # noqa: E402
from oamn_plugin.hosts.torchreid.builders import (  # noqa: E402
    build_datamanager,
    build_engine,
    build_model,
    build_optimizer,
    register_from,
)
from oamn_plugin.hosts.torchreid.compat import host_module  # noqa: E402
from oamn_plugin.hosts.torchreid.main import train_or_test  # noqa: E402
from oamn_plugin.occlusion import OCCLUSION_TYPES, strip  # noqa: E402
from oamn_plugin.retrieval import Unification, cover_strip, evaluate_distances, fill_colour  # noqa: E402
from oamn_plugin.retrieval.unification import TYPE_SETS  # noqa: E402

WHOLE = ("mlfn", "shufflenet", "squeezenet1_1")
"""Models of the host whose map at stride 16 is not reached by the layout of their parts."""


def build(root: Path, name: str = "oamn_osnet_x0_25", kind: Any = ImageOAMNEngine, **options: Any) -> Any:
    register(input_size=SIZE, axes=1, embedded_size="tiny")
    torchreid.utils.set_random_seed(3)
    manager = tiny_datamanager(root)
    model = torchreid.models.build_model(name, manager.num_train_pids, loss="triplet", pretrained=False)
    optimizer = torchreid.optim.build_optimizer(model, optim="sgd", lr=0.01)
    scheduler = torchreid.optim.build_lr_scheduler(optimizer, lr_scheduler="cosine", max_epoch=3)
    return kind(manager, model, optimizer, scheduler=scheduler, use_gpu=False, **options)


def first_batch(engine: Any) -> dict[str, Any]:
    engine.num_batches, engine.batch_idx = 6, 0
    return next(iter(engine.train_loader))


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_the_folder_that_every_host_leaves(embedded_root: Path, tmp_path: Path) -> None:
    engine = build(embedded_root)
    engine.run(save_dir=str(tmp_path), max_epoch=2, print_freq=2)
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == TARGETS
    for name, scores in results.items():
        assert {"Rank-1", "Rank-3", "Rank-5", "Rank-10", "Rank-20", "mAP", "mAP_trapezoid", "mINP"} <= set(scores)
        assert (scores["num_query"], scores["num_gallery"]) == (12, 24)
        assert sum(scores["query_types"].values()) == 12
        assert {"type_accuracy", "side_accuracy", "seconds_per_1000_gallery"} <= set(scores)
        with np.load(tmp_path / "per_query" / f"{name}.npz", allow_pickle=False) as stored:
            assert stored["ap"].mean() * 100 == pytest.approx(scores["mAP"])
            assert {
                "ap_trapezoid",
                "inp",
                "first_rank",
                "valid",
                "pids",
                "camids",
                "types",
                "confidence",
                "paths",
            } <= set(stored)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == sorted(line["epoch"] for line in lines)
    assert {"iteration", "total_loss", "loss_identity", "loss_mask1", "cls_accuracy", "images_per_second"} <= set(
        lines[0]
    )
    assert set(load_checkpoint(tmp_path / "model_final.pth")) == {"state_dict"}
    # the host's own name and keys, readable without running code
    state = torch.load(tmp_path / "model" / "model.pth.tar-2", weights_only=True)
    assert {"state_dict", "epoch", "rank1", "optimizer", "scheduler"} <= set(state)
    assert state["epoch"] == 2


def test_a_resumed_run_equals_one_that_was_never_stopped(embedded_root: Path, tmp_path: Path) -> None:
    whole, first = build(embedded_root), build(embedded_root)
    whole.run(save_dir=str(tmp_path / "whole"), max_epoch=3, eval_freq=1)
    build(embedded_root)
    first = build(embedded_root)
    first.run(save_dir=str(tmp_path / "parts"), max_epoch=2)  # evaluates less often: a test must draw nothing
    second = build(embedded_root)
    torch.rand(5), random.random()
    state = load_newest(tmp_path / "parts")
    assert state is not None
    start = second.resume(state, "the newest")
    assert start == 2
    second.run(save_dir=str(tmp_path / "parts"), max_epoch=3, start_epoch=start)
    assert same(whole.model.state_dict(), second.model.state_dict())
    assert whole.results[TARGETS[0]]["mAP"] == second.results[TARGETS[0]]["mAP"]
    assert whole.get_current_lr() == second.get_current_lr()
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "parts" / "metrics.json").read_text().splitlines()]
    assert epochs == sorted(epochs)


def test_resuming_a_finished_run_keeps_its_epoch(embedded_root: Path, tmp_path: Path) -> None:
    engine = build(embedded_root)
    engine.run(save_dir=str(tmp_path), max_epoch=1)
    again = build(embedded_root)
    start = again.resume(load_checkpoint(tmp_path / "model" / "model.pth.tar-1"), "it")
    again.run(save_dir=str(tmp_path), max_epoch=1, start_epoch=start)
    assert [path.name for path in (tmp_path / "model").glob("*tar-?")] == ["model.pth.tar-1"]
    assert same(engine.model.state_dict(), again.model.state_dict())


def test_a_fresh_run_moves_an_earlier_one_aside(embedded_root: Path, tmp_path: Path) -> None:
    build(embedded_root).run(save_dir=str(tmp_path), max_epoch=2)
    build(embedded_root).run(save_dir=str(tmp_path), max_epoch=1)
    assert load_newest(tmp_path)["epoch"] == 1  # type: ignore[index]
    assert load_newest(tmp_path / "before_1")["epoch"] == 2  # type: ignore[index]
    epochs = {
        folder: {json.loads(line)["epoch"] for line in (tmp_path / folder / "metrics.json").read_text().splitlines()}
        for folder in (".", "before_1")
    }
    assert epochs == {".": {0}, "before_1": {0, 1}}


def test_resume_survives_a_half_written_line_and_refuses_damage_and_another_seed(
    embedded_root: Path, tmp_path: Path
) -> None:
    same_rate = {"data__targets": TARGETS[:1], "train__lr_scheduler": "multi_step"}  # whatever max_epoch is
    cfg = tiny_config(embedded_root, tmp_path, train__max_epoch=1, **same_rate)
    register_from(cfg)
    train_or_test(cfg)
    with open(tmp_path / "metrics.json", "a") as file:
        file.write('{"iteration": 6, "epo')
    longer = tiny_config(embedded_root, tmp_path, train__max_epoch=2, **same_rate)
    train_or_test(longer, resume=True)
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert sorted(set(epochs)) == [0, 1]
    with pytest.raises(ConfigError, match=r"another seed \(1 then, 2 now\)"):
        train_or_test(tiny_config(embedded_root, tmp_path, train__seed=2, **same_rate), resume=True)
    files = step_files(tmp_path)
    for path in files:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        train_or_test(longer, resume=True)
    assert step_files(tmp_path) == files


@pytest.mark.parametrize(("preset", "axes"), [("paper", 2), ("official", 2), ("plus", 1), ("plus", 0)])
def test_all_views_are_made_and_normalised(preset: str, axes: int, embedded_root: Path, tmp_path: Path) -> None:
    for padding in (0, 4):
        changes = {"oamn__preset": preset, "oamn__axes": axes, "oamn__black_share": 0.0, "geometry__padding": padding}
        changes["oamn__cut_share"] = 0.0  # a cut view is of type none and yet not the image itself
        cfg = tiny_config(embedded_root, tmp_path, geometry__flip=0, **changes)
        register_from(cfg)
        manager = build_datamanager(cfg)
        engine = build_engine(cfg, manager, build_model(cfg, manager.num_train_pids))
        images = first_batch(engine)["img"]
        made = engine.views(images)
        assert made.images.shape == (8, 1 + 2 * axes, 3, *SIZE)
        assert made.types.shape == (8, 1 + 2 * axes)
        clean = (made.types[:, 0] == 0).nonzero().flatten()
        if padding == 0:
            torch.testing.assert_close(made.images[clean, 0], images[clean])
        else:  # what moved in from outside is black, not grey
            black = -torch.tensor(cfg.data.norm_mean) / torch.tensor(cfg.data.norm_std)
            torch.testing.assert_close(made.images.amin((0, 1, 3, 4)), black)
            assert (made.images[clean, 0] - images[clean]).abs().max() > 0.1


def test_black_strips_are_black(embedded_root: Path) -> None:
    engine = build(embedded_root)
    engine.transform.occlusion.black_share = 1.0
    made = engine.views(first_batch(engine)["img"])
    for row, types in zip(made.images, made.types, strict=True):
        top, left, height, width = strip(OCCLUSION_TYPES[int(types[1])], *SIZE)
        cut = row[1, :, top : top + height, left : left + width]
        torch.testing.assert_close(cut, fill_colour("black").view(3, 1, 1).expand_as(cut), atol=1e-5, rtol=1e-5)


def baseline(root: Path, output: Path, config: str, **changes: Any) -> Any:
    shares = {"occlusion__prob": 1.0, "occlusion__patch_source": "anywhere"}
    cfg = tiny_config(root, output, config, **{**shares, "data__transforms": "[]", **changes})
    register_from(cfg)
    torchreid.utils.set_random_seed(3)
    manager = build_datamanager(cfg)
    return build_engine(cfg, manager, build_model(cfg, manager.num_train_pids))


@pytest.mark.parametrize("config", ["osnet_x0_25", "resnet50"])
def test_a_baselines_batches_are_occluded_as_the_options_say(config: str, embedded_root: Path, tmp_path: Path) -> None:
    """Per image in the worker, black strips, cut views and other people's patches were ignored."""
    engine = baseline(embedded_root, tmp_path, config)
    batch = first_batch(engine)
    images, pids = engine.parse_data_for_train(batch)
    assert images.shape == batch["img"].shape
    assert torch.equal(pids, batch["pid"])
    covered = (images != batch["img"]).any(1).float().mean((1, 2))
    assert ((covered > 0.2) & (covered < 0.55)).all()
    engine = baseline(embedded_root, tmp_path, config, occlusion__black_share=1.0)
    batch = first_batch(engine)
    images, _ = engine.parse_data_for_train(batch)
    black = (images - fill_colour("black").view(3, 1, 1)).abs().amax(1) < 1e-5
    assert (black.float().mean((1, 2)) > 0.2).all()
    engine = baseline(embedded_root, tmp_path, config, occlusion__cut_share=1.0)
    images, _ = engine.parse_data_for_train(batch)
    assert ((images != batch["img"]).float().mean((1, 2, 3)) > 0.55).all(), "stretched, not covered"
    folder = str(write_cutouts(tmp_path / "cutouts", 8))
    engine = baseline(embedded_root, tmp_path, config, occlusion__objects=folder, occlusion__patch_source="native")
    images, _ = engine.parse_data_for_train(batch)
    ragged = [len(set(rows.sum(1).tolist()) - {0}) > 2 for rows in (images != batch["img"]).any(1)]
    assert any(ragged), "an outline is no rectangle"
    with pytest.raises(ConfigError, match=r"one view of an image: OcclusionAugmentation\(axes=0"):
        SoftmaxEngine(engine.datamanager, engine.model, engine.optimizer, occlusion=OcclusionAugmentation())


def test_an_occluded_baseline_resumes_to_the_bit(embedded_root: Path, tmp_path: Path) -> None:
    """Donors were kept in the memory of each worker: the number of workers and a restart changed the images."""
    whole = baseline(embedded_root, tmp_path, "osnet_x0_25")
    whole.run(save_dir=str(tmp_path / "whole"), max_epoch=2)
    baseline(embedded_root, tmp_path, "osnet_x0_25").run(save_dir=str(tmp_path / "parts"), max_epoch=1)
    second = baseline(embedded_root, tmp_path, "osnet_x0_25", data__workers=2)
    state = load_newest(tmp_path / "parts")
    assert state is not None
    second.run(save_dir=str(tmp_path / "parts"), max_epoch=2, start_epoch=second.resume(state, "the newest"))
    assert same(whole.model.state_dict(), second.model.state_dict())


def test_moving_and_normalising_do_not_disturb_each_other(embedded_root: Path) -> None:
    images = first_batch(engine := build(embedded_root, geometry=Geometry(0, 0.0, 1.0)))["img"]
    torch.testing.assert_close(engine.views(images).images[:, 0], images.flip(3), atol=1e-5, rtol=1e-5)


def test_gradients_go_where_the_method_sends_them(embedded_root: Path) -> None:
    engine = build(embedded_root)
    engine.set_model_mode("train")
    engine.epoch, engine.print_freq, engine._pending = 0, 1000, 0
    before = {name: value.clone() for name, value in engine.model.state_dict().items()}
    summary = engine.forward_backward(first_batch(engine))
    assert summary["loss"] == pytest.approx(sum(v for k, v in summary.items() if k.startswith("loss_")), rel=1e-5)
    after = engine.model.state_dict()
    moved = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"encoder_low", "encoder_high", "mask", "scorer", "feat_bn", "classifier"}


def test_parameters_that_the_method_never_trains_stay_closed(embedded_root: Path) -> None:
    engine = build(embedded_root)
    core = engine.bare_model
    core.options = type(core.options)(head="bnneck")
    engine.two_stepped_transfer_learning(0, 0, None)
    assert not core.feat_bn.bias.requires_grad
    assert core.feat_bn.weight.requires_grad
    engine.two_stepped_transfer_learning(0, 1, ["classifier"])
    assert {n.split(".")[0] for n, p in core.named_parameters() if p.requires_grad} == {"classifier"}


def test_a_loss_that_is_no_number_stops_at_once_with_the_images(embedded_root: Path, tmp_path: Path) -> None:
    engine = build(embedded_root)
    with torch.no_grad():
        engine.model.classifier.weight.fill_(float("nan"))
    before = {name: value.clone() for name, value in engine.model.encoder_low.named_parameters()}
    with pytest.raises(BadLossError, match=r"epoch 1, step 0: .*loss_identity nan(.|\n)*\.jpg"):
        engine.run(save_dir=str(tmp_path), max_epoch=1)
    assert same(before, dict(engine.model.encoder_low.named_parameters()))


@pytest.mark.parametrize("kind", [SoftmaxEngine, TripletEngine])
def test_the_hosts_own_models_are_ranked_by_the_core_as_by_the_host(
    kind: Any, embedded_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register(input_size=SIZE, embedded_size="tiny")
    torchreid.utils.set_random_seed(0)
    manager = tiny_datamanager(embedded_root)
    loss = "softmax" if kind is SoftmaxEngine else "triplet"
    model = torchreid.models.build_model("osnet_x0_25", manager.num_train_pids, loss=loss, pretrained=False)
    optimizer = torchreid.optim.build_optimizer(model, lr=1e-3)
    engine = kind(manager, model, optimizer, scheduler=None, use_gpu=False)
    engine.run(save_dir=str(tmp_path), max_epoch=1)  # the host cannot save without a scheduler
    loaders = manager.test_loader[TARGETS[0]]
    model.eval()
    for metric, name in (("euclidean", "sqeuclidean"), ("cosine", "cosine")):
        rank1, mean_ap = host_module("engine").Engine._evaluate(
            engine, TARGETS[0], loaders["query"], loaders["gallery"], dist_metric=metric
        )
        found = engine.evaluate(TARGETS[0], name)
        assert found.result.rank(1) == pytest.approx(float(rank1))
        assert found.result.mAP == pytest.approx(float(mean_ap), abs=1e-6)
        assert found.scores["query_types"] == {"none": 12}
    line = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert 0 <= line["cls_accuracy"] <= 1
    assert line["total_loss"] > 0


@pytest.mark.parametrize(
    "name",
    [
        "osnet_x0_25",
        "osnet_ain_x0_25",
        "resnet18",
        "resnet50_fc512",
        "mobilenetv2_x1_0",
        "shufflenet",
        "mlfn",
        "squeezenet1_1",
    ],
)
def test_models_of_the_host_are_matched_as_the_formula_says(name: str, embedded_root: Path) -> None:
    register(input_size=SIZE, embedded_size="tiny")
    torchreid.utils.set_random_seed(0)
    manager = tiny_datamanager(embedded_root)
    model = torchreid.models.build_model(name, manager.num_train_pids, loss="softmax", pretrained=False)
    engine = SoftmaxEngine(manager, model, torchreid.optim.build_optimizer(model), use_gpu=False)
    types = "five" if name == "resnet18" else "nine"
    engine.unification = Unification("matched", "image", types=types, temperature=0.1)
    kinds = TYPE_SETS[types]
    found = engine.evaluate(TARGETS[0])
    images = {
        part: torch.cat([batch["img"] for batch in engine.test_loader[TARGETS[0]][part]])
        for part in ("query", "gallery")
    }
    terms: Any = 0.0
    with torch.no_grad():
        query = torch.nn.functional.normalize(model.eval()(images["query"]))
        for kind, share in zip(kinds, [0.8, *[0.2 / (len(kinds) - 1)] * (len(kinds) - 1)], strict=True):
            gallery = torch.nn.functional.normalize(model(cover_strip(images["gallery"], kind, fill_colour("mean"))))
            terms = terms + share * torch.exp(-torch.cdist(query.double(), gallery.double()).square() / 0.1)
    labels = [
        np.array([getattr(one, key) for one in part])
        for key in ("pid", "camid")
        for part in (found.query, found.gallery)
    ]
    expected = evaluate_distances((-0.1 * terms.log()).float(), *labels)
    assert found.scores["mAP"] == pytest.approx(100 * expected.mAP, abs=1e-3)
    engine.unification = Unification("matched", "features")
    encoder = host_encoder(model, engine.unification, input_size=SIZE)
    assert (encoder.unification.place == "features") == (name not in WHOLE)
    assert engine.evaluate(TARGETS[0]).result.posterior.shape == (12, 9)


def test_queries_meet_the_gallery_occluded_as_they_are(embedded_root: Path) -> None:
    engine = build(embedded_root)
    liven(engine.model)
    found = engine.evaluate(TARGETS[0])
    assert len(found.scores["query_types"]) > 1, "the scorer should find several types here"
    model, row = engine.model.eval(), 5
    pids, cameras = (torch.tensor([getattr(one, name) for one in found.gallery]) for name in ("pid", "camid"))
    own = found.query[row]

    def first_rank(distances: torch.Tensor) -> int:
        counted = (pids != own.pid) | (cameras != own.camid)
        order = distances[counted].argsort(stable=True)
        return 1 + int((pids[counted][order] == own.pid).nonzero()[0])

    queries, gallery = (
        torch.cat([batch["img"] for batch in engine.test_loader[TARGETS[0]][part]]) for part in ("query", "gallery")
    )
    with torch.no_grad():
        features = model.encode(queries[row : row + 1])
        _, logits = model.attend(features)
        torch.testing.assert_close(logits, found.queries.logits[row : row + 1], atol=1e-5, rtol=1e-5)
        occluded = cover_strip(gallery, OCCLUSION_TYPES[int(found.queries.types[row])], fill_colour("black"))
        expected = (model(queries[row : row + 1]) - model(occluded)).square().sum(1)
    assert found.result.first_rank[row] == first_rank(expected)
    engine.unification = Unification("none")
    plain = engine.evaluate(TARGETS[0])
    with torch.no_grad():
        expected = (model(queries[row : row + 1]) - model(gallery)).square().sum(1)
    assert plain.result.first_rank[row] == first_rank(expected)


def test_a_test_alone_reranks_and_leaves_no_weights(
    embedded_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = build(embedded_root)
    described = described_images(monkeypatch)
    engine.run(save_dir=str(tmp_path), test_only=True, rerank=True)
    assert sum(described) == 24  # one gallery for both targets
    assert not (tmp_path / "model_final.pth").exists()
    with pytest.raises(ConfigError, match=r"oamn visualize ranks"):
        engine.test(visrank=True)
    with pytest.raises(ConfigError, match=r"test\.dist_metric must be one of euclidean, cosine"):
        engine.test(dist_metric="manhattan")
    with pytest.raises(ConfigError, match="use_metric_cuhk03"):
        engine.test(use_metric_cuhk03=True)


def test_the_engine_names_a_model_that_is_no_oamn(embedded_root: Path) -> None:
    with pytest.raises(ConfigError, match="trains OAMN, not OSNet: build a model named oamn_<backbone>"):
        build(embedded_root, "osnet_x0_25")


def test_weights_of_other_models_are_refused_with_a_list(embedded_root: Path, tmp_path: Path) -> None:
    engine = build(embedded_root)
    other = torchreid.models.build_model("oamn_osnet_x0_5", 4, pretrained=False)
    torch.save({"state_dict": other.state_dict()}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth does not fit this model: \d+ of another shape"):
        load_weights(engine.model, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"cannot be resumed, it lacks epoch, optimizer.*model\.load_weights"):
        engine.resume(load_checkpoint(tmp_path / "other.pth"), "other.pth")
    torch.save({"model": {"oamn.feat_bn.weight": torch.ones(3)}}, tmp_path / "fastreid.pth")
    with pytest.raises(CheckpointError, match=r"oamn convert"):
        load_weights(engine.model, tmp_path / "fastreid.pth")


def test_the_hosts_own_checkpoints_are_read_without_running_code(embedded_root: Path, tmp_path: Path) -> None:
    """They hold a numpy number, which weights_only refuses; a number is let in, code is not."""
    register(input_size=SIZE)
    model = torchreid.models.build_model("osnet_x0_25", 4, pretrained=False)
    state = {"state_dict": model.state_dict(), "epoch": 3, "rank1": np.float32(0.5)}
    host_module("utils").save_checkpoint(state, str(tmp_path))
    path = tmp_path / "model.pth.tar-3"
    with pytest.raises(Exception, match=r"Weights only load failed|Unsupported"):
        torch.load(path, weights_only=True)
    fresh = torchreid.models.build_model("osnet_x0_25", 7, pretrained=False)  # another number of people
    load_weights(fresh, path)
    assert torch.equal(fresh.conv5.conv.weight, model.conv5.conv.weight)
    torch.save({"state_dict": model.state_dict(), "run": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of plain tensors and numbers"):
        load_checkpoint(tmp_path / "code.pth")


def test_the_released_learning_rates_and_schedule(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config(
        embedded_root, tmp_path, train__optim="sgd", train__lr=0.1, sgd__nesterov=True, train__staged_lr=True,
        train__new_layers=["feat_bn", "classifier"], train__lr_scheduler="oamn_steps", train__max_epoch=30,
        train__mask_lr_mult=0.0,
    )  # fmt: skip
    register_from(cfg)
    manager = build_datamanager(cfg)
    engine = build_engine(cfg, manager, build_model(cfg, manager.num_train_pids))
    slow, fast = engine.optimizer.param_groups
    head = {id(p) for part in (engine.model.feat_bn, engine.model.classifier) for p in part.parameters()}
    assert {id(p) for p in fast["params"]} == head
    assert len(slow["params"]) + len(head) == len(list(engine.model.parameters()))
    rates = []
    for _ in range(30):
        rates.append((slow["lr"], fast["lr"]))
        engine.scheduler.step()
    assert rates[5] == pytest.approx((0.00004, 0.0004))
    assert rates[10] == pytest.approx((0.01, 0.1))
    assert rates[24] == pytest.approx((0.00001, 0.0001))


def test_the_mask_learns_at_its_own_rate(embedded_root: Path, tmp_path: Path) -> None:
    for changes, rates in (
        ({}, [0.02, 0.01]),
        ({"train__staged_lr": True, "train__new_layers": ["feat_bn", "classifier"]}, [0.02, 0.001, 0.01]),
    ):
        cfg = tiny_config(embedded_root, tmp_path, train__lr=0.01, train__mask_lr_mult=2.0, **changes)
        register_from(cfg)
        model = build_model(cfg, 5)
        groups = build_optimizer(cfg, model).param_groups
        assert [group["lr"] for group in groups] == pytest.approx(rates)
        assert {id(p) for p in groups[0]["params"]} == {
            id(p) for part in (model.mask, model.scorer) for p in part.parameters()
        }
        assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_training_by_configuration_gives_what_its_weights_give_again(embedded_root: Path, tmp_path: Path) -> None:
    cfg = tiny_config(embedded_root, tmp_path / "run", train__max_epoch=1)
    register_from(cfg)
    trained = train_or_test(cfg)
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    weights = {"model__load_weights": tmp_path / "run" / "model_final.pth"}
    tested = train_or_test(tiny_config(embedded_root, tmp_path / "run", test__evaluate=True, **weights))
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    assert "evaluate: true" in (tmp_path / "run" / "test_config.yaml").read_text()
    for name in TARGETS:
        assert trained[name]["mAP"] == tested[name]["mAP"]
        assert trained[name]["query_types"] == tested[name]["query_types"]
