"""Run folders of small untrained OAMNs whose scorers tell images apart, for the commands that load a model."""

from __future__ import annotations

from pathlib import Path

import torch
from run_tool import TOOLS
from torch import nn

CONFIG = """
_BASE_: {base}
MODEL:
  DEVICE: cpu
  BACKBONE: {{NAME: {name}, ARCH: "{arch}", DEPTH: 1.0x, FEAT_DIM: {dim}, PRETRAIN: False}}
INPUT: {{SIZE_TRAIN: [128, 64], SIZE_TEST: [128, 64]}}
TEST: {{IMS_PER_BATCH: 32}}
DATALOADER: {{NUM_WORKERS: 0}}
DATASETS: {{ROOT: "{root}", EMBEDDED: {{SIZE: tiny}}}}
OUTPUT_DIR: {folder}
"""


def make_run(
    folder: Path, root: Path, name: str = "torchvision", arch: str = "mobilenet_v2", seed: int = 0, dim: int = 1280
) -> Path:
    """A folder with ``config.yaml`` and ``model_final.pth``."""
    from fastreid.modeling.meta_arch import build_model

    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid import load_config
    from oamn_plugin.hosts.fastreid.inference import without_training

    folder.mkdir(parents=True)
    base = TOOLS.parent / "configs" / "Base-OAMN.yml"
    words = {"base": base, "name": name, "arch": arch, "dim": dim, "root": root, "folder": folder}
    (folder / "config.yaml").write_text(CONFIG.format(**words))
    torch.manual_seed(seed)
    model = build_model(without_training(load_config(str(folder / "config.yaml"))))
    give_opinions(model, sorted(root.glob("*/bounding_box_train/*.jpg"))[:24])
    torch.save({"model": model.state_dict()}, folder / "model_final.pth")
    return folder


def give_opinions(model: nn.Module, paths: list[Path]) -> None:
    """Fits the scorer's statistics to some images and makes its weights large, so that types differ."""
    from oamn_plugin.search.encoder import ImageEncoder

    core = model.oamn
    encoder = ImageEncoder(core, input_size=core.input_size)
    nn.init.normal_(core.scorer.fc.weight)
    core.scorer.bn.momentum = 1.0
    with torch.no_grad():
        features = core.encode(encoder.normalise(torch.stack([encoder.read(str(path)) for path in paths])))
        core.scorer.train()
        core.attend(features)
        core.eval()
        logits = core.attend(features)[1]
        core.scorer.fc.weight *= 2 / logits.std()
        core.scorer.fc.bias -= 2 * logits.mean(0) / logits.std()


def model_options(run: Path) -> list[object]:
    """The arguments that name a run's model."""
    return ["--config-file", run / "config.yaml", "--weights", run / "model_final.pth"]
