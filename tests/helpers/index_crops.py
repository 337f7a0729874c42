"""A small network with opinions on occlusion, and folders of small pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from oamn_plugin.modeling import OAMN
from oamn_plugin.search.encoder import ImageEncoder

SIZE = (64, 32)


def make_encoder(seed: int = 0, **options: object) -> ImageEncoder:
    """OAMN on a ResNet of four blocks whose scorer has been made to tell images apart."""
    torch.manual_seed(seed)
    model = OAMN(ResNet(BasicBlock, [1, 1, 1, 1]), input_size=SIZE, **options)
    if model.scorer is not None:
        nn.init.normal_(model.scorer.fc.weight, std=2.0)
    return ImageEncoder(model, input_size=SIZE)


def make_crops(folder: Path, count: int, seed: int = 0, size: tuple[int, int] = (16, 32)) -> list[Path]:
    """Blocky pictures of ``count // 4`` people under two cameras, named as in Market-1501."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 256, (max(1, count // 4), 4, 2, 3))
    paths = []
    for number in range(count):
        person = number % len(people)
        blocks = np.clip(people[person] + rng.normal(0, 60, people[person].shape), 0, 255).astype(np.uint8)
        path = folder / f"{person + 1:04d}_c{1 + number % 2}s1_{number:06d}_00.png"
        Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(path)
        paths.append(path)
    return sorted(paths)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of an index but its lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
