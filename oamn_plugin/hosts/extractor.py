"""``oamn_plugin.Extractor``: descriptors of crops by the packaged model, any trained run, or a model of torchreid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from oamn_plugin.hosts.encoder import ModelChoiceError, load_model
from oamn_plugin.retrieval.strips import IMAGENET_MEAN, IMAGENET_STD
from oamn_plugin.search.encoder import BATCH, ImageEncoder
from oamn_plugin.search.extractor import EncoderExtractor

PACKAGED = "packaged"


class Extractor(EncoderExtractor):
    """Crops of people to unit descriptors, visible share and occlusion type; see the call and :meth:`crops`.

    Takes the arguments of torchreid's ``FeatureExtractor`` too, and gives the descriptors of the same model at unit
    length: ``Extractor(model_name="osnet_x1_0", model_path="model.pth.tar", device="cuda")``.

    Args:
        model: ``packaged`` (the small model that ships with the package), the folder of a run of fastreid, a weight
            file (with ``config``), a name of ``oamn weights list``, or an :class:`ImageEncoder`.
        device: such as ``cpu`` or ``cuda``; None: where the network is.
        half: mixed precision.
        batch_size: crops at a time.
        config: YAML file of fastreid or torchreid that a weight file belongs to.
        opts: ``KEY VALUE`` words that replace the file's.
        model_name: a model of torchreid, instead of ``model``.
        model_path: its weights; empty: the host's ImageNet weights.
        image_size: input (height, width) of a model of torchreid.
        pixel_mean, pixel_std: its normalisation, in 0..1.

    Raises:
        ExpectedError: a configuration or weights that do not work; the message says why.

    >>> import numpy as np
    >>> crops = Extractor()(np.zeros((128, 64, 3), dtype=np.uint8))
    >>> crops.descriptors.shape[0], len(crops.types)
    (1, 1)
    """

    def __init__(
        self,
        model: str | Path | ImageEncoder = PACKAGED,
        *,
        device: str | torch.device | None = None,
        half: bool = False,
        batch_size: int = BATCH,
        config: str | Path = "",
        opts: Sequence[str] = (),
        model_name: str = "",
        model_path: str | Path = "",
        image_size: tuple[int, int] = (256, 128),
        pixel_mean: Sequence[float] = IMAGENET_MEAN,
        pixel_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        if model_name:
            from oamn_plugin.hosts.torchreid.inference import load_encoder

            means, deviations = ([float(value) for value in given] for given in (pixel_mean, pixel_std))
            size = ["data.height", str(int(image_size[0])), "data.width", str(int(image_size[1]))]
            colours = ["data.norm_mean", str(means), "data.norm_std", str(deviations)]
            own = ["model.name", model_name, "model.channels_last", "False"]  # the host's layout, so its last digits
            encoder = load_encoder("", str(model_path), [*own, *size, *colours])
        elif isinstance(model, (str, Path)):
            weights = "" if str(model) == PACKAGED else str(model)
            if str(model) != PACKAGED and Path(model).is_dir():
                weights, config = _files_of_run(Path(model), config)
            encoder = load_model(str(config), weights, list(opts))
        else:
            encoder = model
        super().__init__(encoder, device, half, batch_size)


def _files_of_run(run: Path, config: str | Path) -> tuple[str, str | Path]:
    """The weights in a folder and their configuration, unless another is given."""
    weights = [run / name for name in ("model_best.pth", "model_final.pth") if (run / name).is_file()]
    if not weights or not (run / "config.yaml").is_file():
        raise ModelChoiceError(f"{run} is no folder of a run: it lacks config.yaml or model_final.pth")
    return str(weights[0]), config or run / "config.yaml"
