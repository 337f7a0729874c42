"""Two frames with boxes through each adapter give the vectors that the extractor gives.

The quick tests hand over objects of the shape that each package documents; those marked ``trackers`` use the packages.
"""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from oamn_plugin import Extractor
from oamn_plugin.search.extractor import Crops, EncoderExtractor
from oamn_plugin.trackers import tracklab as tracklab_adapter
from oamn_plugin.trackers.boxmot import BoxmotEncoder
from oamn_plugin.trackers.reid import ReIDModel
from oamn_plugin.trackers.supervision import add_descriptors

BOXES = [np.array([[10, 5, 50, 100], [60.4, 20, 99.6, 110]]), np.array([[0, 0, 30, 80]])]


@pytest.fixture(scope="module")
def extractor() -> EncoderExtractor:
    return Extractor()


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """RGB."""
    return list(np.random.default_rng(0).integers(0, 256, (2, 120, 160, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def expected(extractor: EncoderExtractor, frames: list[np.ndarray]) -> list[Crops]:
    found = [extractor.crops(*pair) for pair in zip(frames, BOXES, strict=True)]
    swapped = extractor.crops(frames[0][..., ::-1], BOXES[0])
    assert not torch.allclose(found[0].descriptors, swapped.descriptors, atol=1e-3)  # channel order is not lost on it
    return found


def bgr(frame: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[..., ::-1])


def test_boxmot_gets_the_extractors_vectors(
    extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops]
) -> None:
    encoder = BoxmotEncoder(extractor)
    for frame, boxes, crops in zip(frames, BOXES, expected, strict=True):
        found = encoder.get_features(boxes, bgr(frame))
        assert found.dtype == np.float32
        assert np.array_equal(found, crops.descriptors.numpy())
    assert encoder.get_features(np.zeros((0, 4)), bgr(frames[0])).shape == (0, encoder.embedding_dim)
    given = [SimpleNamespace(image=torch.from_numpy(frame).permute(2, 0, 1)) for frame in frames]
    detections = [SimpleNamespace(geometry=SimpleNamespace(values=torch.tensor(boxes))) for boxes in BOXES]
    for found, crops in zip(encoder.encode(given, detections), expected, strict=True):
        assert torch.equal(found, crops.descriptors)


def test_supervision_carries_the_extractors_vectors(
    extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops]
) -> None:
    for frame, boxes, crops in zip(frames, BOXES, expected, strict=True):
        for given, swapped in ((bgr(frame), True), (frame, False)):
            detections = add_descriptors(SimpleNamespace(xyxy=boxes, data={}), given, extractor, bgr=swapped)
            assert np.array_equal(detections.data["embeddings"], crops.descriptors.numpy())
        assert detections.data["occlusion_type"].tolist() == crops.types
        assert np.array_equal(detections.data["visible"], crops.visible.numpy())


def test_the_place_of_roboflows_model_is_taken(
    extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops], tmp_path: Path
) -> None:
    model = ReIDModel(extractor)
    for frame, boxes, crops in zip(frames, BOXES, expected, strict=True):
        found = model.extract_embeddings(SimpleNamespace(xyxy=boxes), bgr(frame), batch_size=1)
        assert np.array_equal(found, crops.descriptors.numpy())
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    paths = [str(tmp_path / f"{number}.png") for number in range(len(frames))]
    assert np.array_equal(model.extract_embeddings_from_paths(paths), extractor(frames).descriptors.numpy())


def test_the_adapters_load_none_of_the_packages() -> None:
    import subprocess
    import sys

    code = (
        "import sys\nfrom oamn_plugin.trackers import boxmot, reid, supervision, tracklab\n"
        "print(sorted({'boxmot', 'reid', 'supervision', 'tracklab', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        tracklab_adapter.Nothing  # noqa: B018


@pytest.mark.trackers
def test_boxmot_itself(extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops]) -> None:
    protocols = pytest.importorskip("boxmot.reid.protocols")
    from boxmot.structures import Boxes, Detections, Frame

    encoder = BoxmotEncoder(extractor)
    assert isinstance(encoder, protocols.AppearanceEncoder)
    assert encoder.requirements == protocols.EncoderRequirements()
    given, detections = [], []
    for number, (frame, boxes) in enumerate(zip(frames, BOXES, strict=True)):
        image = torch.from_numpy(frame).permute(2, 0, 1).contiguous()
        given.append(Frame(image, f"frame {number}"))
        scores, classes = torch.full((len(boxes),), 0.9), torch.zeros(len(boxes), dtype=torch.int64)
        detections.append(
            Detections(Boxes(torch.tensor(boxes, dtype=torch.float32)), scores, classes, f"frame {number}")
        )
    for found, crops in zip(encoder.encode(given, detections), expected, strict=True):
        assert torch.equal(found, crops.descriptors)


@pytest.mark.trackers
def test_a_tracker_of_boxmot_takes_the_encoder(extractor: EncoderExtractor, frames: list[np.ndarray]) -> None:
    pytest.importorskip("boxmot")
    from boxmot.trackers.box.botsort.tracker import BotSort

    asked: list[np.ndarray] = []

    class Counted(BoxmotEncoder):
        def get_features(self, xyxys: Any, img: np.ndarray) -> np.ndarray:
            asked.append(super().get_features(xyxys, img))
            return asked[-1]

    tracker = BotSort(reid_model=Counted(extractor), use_cmc=False)
    for frame, boxes in zip(frames, BOXES, strict=True):
        tracker.update(np.column_stack([boxes, np.full(len(boxes), 0.9), np.zeros(len(boxes))]), bgr(frame))
    assert np.allclose(asked[0], extractor.crops(frames[0], BOXES[0]).descriptors.numpy(), atol=1e-6)


@pytest.mark.trackers
def test_supervision_and_trackers_keep_the_vectors(
    extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops]
) -> None:
    supervision = pytest.importorskip("supervision")
    trackers = pytest.importorskip("trackers")

    tracker = trackers.ByteTrackTracker()
    for frame, boxes, crops in zip(frames, BOXES, expected, strict=True):
        detections = supervision.Detections(xyxy=boxes.astype(np.float32), confidence=np.full(len(boxes), 0.9))
        detections = add_descriptors(detections, bgr(frame), extractor)
        assert np.array_equal(detections.data["embeddings"], crops.descriptors.numpy())
        tracked = tracker.update(detections)
        order = [int(np.abs(boxes - box).sum(1).argmin()) for box in tracked.xyxy]
        assert np.array_equal(tracked.data["embeddings"], crops.descriptors.numpy()[order])


@pytest.mark.trackers
def test_roboflows_model_has_the_same_calls(
    extractor: EncoderExtractor, frames: list[np.ndarray], expected: list[Crops]
) -> None:
    theirs = pytest.importorskip("reid").ReIDModel
    supervision = pytest.importorskip("supervision")
    for name in ("extract_embeddings", "extract_embeddings_from_paths"):
        asked, given = (list(signature(getattr(one, name)).parameters) for one in (theirs, ReIDModel))
        assert asked == given
    detections = supervision.Detections(xyxy=BOXES[0].astype(np.float32))
    found = ReIDModel(extractor).extract_embeddings(detections, bgr(frames[0]))
    assert np.allclose(found, expected[0].descriptors.numpy(), atol=1e-6)


@pytest.mark.trackers
def test_tracklab_itself(frames: list[np.ndarray], expected: list[Crops]) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("tracklab.pipeline.detectionlevel_module")
    module = tracklab_adapter.OAMNReID(batch_size=8)
    assert module.level == "detection"
    rows, samples = [], []
    for number, (frame, boxes) in enumerate(zip(frames, BOXES, strict=True)):
        for left, top, right, bottom in boxes:
            rows.append({"bbox_ltwh": np.array([left, top, right - left, bottom - top]), "image_id": number})
            detection = pandas.Series(rows[-1], name=f"d{len(rows)}")
            samples.append((detection.name, module.preprocess(frame, detection, None)))
    names, batch = type(module).collate_fn(samples)
    found = module.process(batch=batch, detections=pandas.DataFrame(rows, index=names), metadatas=None)
    module.validate_output(found)
    assert found.index.tolist() == ["d1", "d2", "d3"]
    wanted = torch.cat([crops.descriptors for crops in expected])
    assert np.allclose(np.stack(found.embeddings)[:, 0], wanted.numpy(), atol=1e-6)
    assert np.stack(found.visibility_scores).shape == (3, 1)
