"""Seven files of the toolboxes' zoos, built with their own code and saved as they save: each is of use everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from backbones import assert_same_backbone
from tiny_torchreid import liven, require_torchreid, tiny_datamanager
from torch import Tensor, nn

require_torchreid()
pytest.importorskip("fastreid")

import torchreid  # noqa: E402

import oamn_plugin.hosts.fastreid  # noqa: E402,F401 makes the host importable
from oamn_plugin import Extractor  # noqa: E402
from oamn_plugin.cli import export, train  # noqa: E402
from oamn_plugin.hosts.encoder import load_model  # noqa: E402
from oamn_plugin.hosts.fastreid.config import load_config  # noqa: E402
from oamn_plugin.hosts.fastreid.meta_arch import META_ARCH_REGISTRY  # noqa: E402
from oamn_plugin.hosts.shared.checkpoint import load_checkpoint  # noqa: E402
from oamn_plugin.hosts.torchreid import register  # noqa: E402
from oamn_plugin.hosts.torchreid.models import build_oamn  # noqa: E402
from oamn_plugin.modeling.initialise import COUNTER, initialise, state_of  # noqa: E402
from oamn_plugin.search.gallery import read_gallery  # noqa: E402
from oamn_plugin.search.index import GalleryIndex  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SET = "OccludedPedestrians"
SIZE = (96, 32)  # MGN cuts the feature map into thirds
CLASSES = 5
FASTREID = {
    "MODEL.DEVICE": "cpu", "MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": CLASSES,
    "INPUT.SIZE_TRAIN": list(SIZE), "INPUT.SIZE_TEST": list(SIZE), "TEST.IMS_PER_BATCH": 16,
    "DATASETS.TESTS": [SET], "DATASETS.EMBEDDED.SIZE": "tiny", "DATALOADER.NUM_WORKERS": 0,
}  # fmt: skip
TORCHREID = {
    "data.height": SIZE[0], "data.width": SIZE[1], "data.sources": [SET], "embedded.size": "tiny", "data.workers": 0,
    "use_gpu": False, "test.batch_size": 16,
}  # fmt: skip


class Zoo(NamedTuple):
    """One file of a zoo and the model that it was saved from."""

    source: nn.Module
    path: Path
    config: str
    opts: list[str]
    oamn: nn.Module

    @property
    def in_fastreid(self) -> bool:
        return bool(self.config)


def words(settings: dict[str, Any]) -> list[str]:
    return [str(word) for pair in settings.items() for word in pair]


def fastreid_model(name: str, **changes: Any) -> Any:
    cfg = load_config(str(CONFIGS / "Market1501" / f"{name}.yml"), words({**FASTREID, **changes}))
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).eval()


def fit_statistics(model: nn.Module) -> None:
    """Statistics of images, as after a training: else fifty layers of random weights describe all images alike."""
    liven(model)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    images = nn.functional.interpolate(torch.rand(12, 3, SIZE[0] // 8, SIZE[1] // 8), SIZE)
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        model({"images": 255 * images} if hasattr(model, "preprocess_image") else (images - 0.45) / 0.225)
    model.eval()


def of_fastreid(name: str, path: Path) -> Zoo:
    """Everything under ``model``, the pixel statistics among the weights; bagtricks under its earlier names."""
    source = fastreid_model(name)
    fit_statistics(source)
    state = {**source.state_dict(), "pixel_mean": torch.zeros(1, 3, 1, 1), "pixel_std": torch.ones(1, 3, 1, 1)}
    if name == "bagtricks_R50":
        state = {entry.replace("heads.bottleneck.0", "heads.bnneck"): value for entry, value in state.items()}
        state["heads.classifier.weight"] = state.pop("heads.weight")
    torch.save({"model": state}, path)
    oamn = fastreid_model("oamn_R50", **{"MODEL.HEADS.NUM_CLASSES": 7})
    return Zoo(source, path, str(CONFIGS / "Market1501" / f"{name}.yml"), words(FASTREID), oamn)


def of_torchreid(name: str, path: Path) -> Zoo:
    """An old pickle: DataParallel's names, and a numpy number that ``weights_only`` refuses by itself."""
    source = torchreid.models.build_model(name, CLASSES, pretrained=False).eval()
    fit_statistics(source)
    state = {f"module.{entry}": value for entry, value in source.state_dict().items()}
    content = {"state_dict": state, "epoch": 3, "rank1": np.float64(0.9), "optimizer": {"state": {}}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    oamn = build_oamn(name, 7, pretrained=False, input_size=SIZE)
    return Zoo(source, path, "", words({"model.name": name, **TORCHREID}), oamn)


SEVEN = ("bagtricks_R50", "SBS_R50", "AGW_R50", "MGN_R50", "osnet_x1_0", "resnet50", "osnet_ain_x1_0")
QUICK = ("bagtricks_R50", "osnet_x1_0")
each = pytest.mark.parametrize("zoo", SEVEN, indirect=True)
each_two_quickly = pytest.mark.parametrize(
    "zoo", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SEVEN], indirect=True
)


@pytest.fixture(scope="module")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    torch.manual_seed(0)
    register(SIZE, embedded_size="tiny")
    path = tmp_path_factory.mktemp("zoo") / f"{request.param}.pth"
    return (of_fastreid if request.param.endswith("R50") else of_torchreid)(request.param, path)


@pytest.fixture(scope="module")
def told(zoo: Zoo, embedded_root: Path) -> tuple[dict[str, float], Tensor]:
    """Scores and query descriptors by the host's own data reading, model and evaluator."""
    return (told_by_fastreid if zoo.in_fastreid else told_by_torchreid)(zoo, embedded_root)


def told_by_fastreid(zoo: Zoo, root: Path) -> tuple[dict[str, float], Tensor]:
    from fastreid.data.common import CommDataset
    from fastreid.data.transforms import build_transforms
    from fastreid.evaluation import ReidEvaluator

    from oamn_plugin.hosts.fastreid.data import build_dataset

    class Evaluator(ReidEvaluator):
        def _compile_dependencies(self) -> None:
            """Ends the process where Cython is not installed; the host has the same in Python."""

    cfg = load_config(zoo.config, [*zoo.opts, "DATASETS.ROOT", str(root)])
    split = build_dataset(cfg, SET)
    items = CommDataset([*split.query, *split.gallery], build_transforms(cfg, is_train=False), relabel=False)
    batches = torch.utils.data.DataLoader(items, batch_size=len(split.query))
    evaluator = Evaluator(cfg, len(split.query))
    with torch.no_grad():
        found = [(batch, zoo.source(batch)) for batch in batches]
    for batch, descriptors in found:
        evaluator.process(batch, descriptors)
    return evaluator.evaluate(), found[0][1]


def told_by_torchreid(zoo: Zoo, root: Path) -> tuple[dict[str, float], Tensor]:
    manager = tiny_datamanager(root, targets=[SET], height=SIZE[0], width=SIZE[1])
    engine = torchreid.engine.ImageSoftmaxEngine(manager, zoo.source, None, use_gpu=False)
    loaders = manager.test_loader[SET]
    zoo.source.eval()
    rank1, mean = engine._evaluate(SET, loaders["query"], loaders["gallery"])
    with torch.no_grad():
        queries = torch.cat([zoo.source(batch["img"]) for batch in loaders["query"]])
    return {"Rank-1": 100 * float(rank1), "mAP": 100 * float(mean)}, queries


def crops(root: Path, part: str) -> list[str]:
    folder = next(root.glob(f"{SET}-tiny*")) / part
    return [str(path) for path in sorted(folder.glob("*.jpg"))]


@each
def test_it_starts_oamn(zoo: Zoo) -> None:
    found = initialise(zoo.oamn, state_of(load_checkpoint(zoo.path), zoo.path), zoo.path.name)
    assert_same_backbone(zoo.oamn, zoo.source)
    assert {"mask and scorer", "classifier"} <= set(found.anew)
    # torchreid's models have no neck of OAMN's kind, MGN's are behind a reduction to 256
    assert ("feat_bn" in found.taken) == (zoo.in_fastreid and zoo.path.stem != "MGN_R50")


@each
def test_it_starts_its_own_baseline(zoo: Zoo) -> None:
    if zoo.in_fastreid:
        itself = fastreid_model(zoo.path.stem)
    else:
        itself = torchreid.models.build_model(zoo.path.stem, CLASSES, pretrained=False).eval()
    found = initialise(itself, state_of(load_checkpoint(zoo.path), zoo.path), zoo.path.name)
    assert not found.anew
    assert not found.left
    expected = zoo.source.state_dict()
    for name, value in itself.state_dict().items():
        assert name.endswith(COUNTER) or torch.equal(value, expected[name]), name


@each_two_quickly
def test_it_is_evaluated_as_in_its_host(zoo: Zoo, told: Any, embedded_root: Path, tmp_path: Path) -> None:
    if zoo.in_fastreid:
        own = {"MODEL.WEIGHTS": zoo.path, "DATASETS.ROOT": embedded_root, "OUTPUT_DIR": tmp_path}
        assert train.main(["--eval-only", "--config-file", zoo.config, *zoo.opts, *words(own)]) == 0
    else:
        own = {"model.load_weights": zoo.path, "data.root": embedded_root, "data.save_dir": tmp_path}
        assert train.main(["--eval-only", *zoo.opts, *words(own)]) == 0
    scores = json.loads((tmp_path / "results.json").read_text())[SET]
    assert 0 < scores["mAP"] < 100
    for name in told[0].keys() & scores.keys():
        assert scores[name] == pytest.approx(told[0][name], abs=1e-5), name


@each_two_quickly
def test_it_is_extracted_with(zoo: Zoo, told: Any, embedded_root: Path) -> None:
    extractor = Extractor(zoo.path, config=zoo.config, opts=zoo.opts)
    found = extractor(crops(embedded_root, "query")).descriptors
    assert torch.allclose(found, nn.functional.normalize(told[1]), atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 1e-3


@each_two_quickly
def test_it_is_searched_with(zoo: Zoo, embedded_root: Path, tmp_path: Path) -> None:
    encoder = load_model(zoo.config, str(zoo.path), zoo.opts)
    gallery = read_gallery(next(embedded_root.glob(f"{SET}-tiny*")) / "bounding_box_test")[:3]
    index = GalleryIndex(tmp_path / "index", encoder)
    index.add(gallery)
    queries = encoder.queries([torch.stack([encoder.read(image.path) for image in gallery])])
    for image, matches in zip(gallery, index.search(queries, k=2), strict=True):
        assert matches[0].image.path == image.path
        assert matches[0].distance < matches[1].distance


@pytest.mark.slow
@each
def test_it_is_exported(zoo: Zoo, embedded_root: Path, tmp_path: Path) -> None:
    query = str(Path(crops(embedded_root, "query")[0]).parent)
    model = ["--weights", str(zoo.path), "--opts", *zoo.opts] + (["--config-file", zoo.config] if zoo.config else [])
    assert export.main(["torch", str(tmp_path / "out"), "--images", query, "--output", "descriptor", *model]) == 0
    card = json.loads((tmp_path / "out" / "graphs.json").read_text())
    assert card["query"]["outputs"] == ["descriptors"]
