"""Which images the data set holds: identities, cameras, splits."""

from __future__ import annotations

from oamn_plugin.datasets.embedded.render import Shot
from oamn_plugin.datasets.embedded.sizes import DIFFICULTY, Size
from oamn_plugin.datasets.embedded.stream import Stream


def plan(counts: Size, seed: int) -> list[Shot]:
    """Everything that is to be drawn, in a fixed order.

    The test identities follow the training ones, so that no number stands for two persons. Every query's identity is in
    the gallery under all cameras.
    """
    shots = []
    for pid in range(1, counts.train_ids + 1):
        shots += _spread("bounding_box_train", pid, counts.train_images, counts.cameras, 0.0, seed)
    for pid in range(counts.train_ids + 1, counts.train_ids + counts.test_ids + 1):
        order = Stream(seed, "query cameras", pid).shuffled(range(counts.cameras))
        for number in range(counts.queries):
            camid = order[number % counts.cameras]
            shots.append(Shot("query", pid, camid, number + 1, True))
            shots.append(Shot("query_holistic", pid, camid, number + 1, False))
        share = DIFFICULTY.occluded_gallery
        shots += _spread("bounding_box_test", pid, counts.gallery_images, counts.cameras, share, seed)
    return sorted(shots)


def _spread(split: str, pid: int, images: int, cameras: int, occluded: float, seed: int) -> list[Shot]:
    """The images of an identity, shared out evenly among cameras in a random order."""
    stream = Stream(seed, "cameras", split, pid)
    order = stream.shuffled(range(cameras))
    return [Shot(split, pid, order[index % cameras], index + 1, stream.chance(occluded)) for index in range(images)]
