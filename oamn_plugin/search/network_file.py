"""Networks that come as a file without code: ONNX, run by onnxruntime, and OpenVINO's IR, run by OpenVINO.

What goes into such a network cannot be read off it, and a wrong guess gives wrong descriptors without an error. So it
is stated: in a JSON card beside the file, or by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oamn_plugin.errors import ExpectedError
from oamn_plugin.modeling.embedding import WholeModel
from oamn_plugin.search.encoder import RESAMPLING, ImageEncoder

Run = Callable[[np.ndarray], np.ndarray]


class NetworkFileError(ExpectedError, ValueError):
    """A network file, or what is said of its input, that cannot be used; the message says what to do."""


@dataclass(frozen=True)
class InputCard:
    """What a network file takes.

    Attributes:
        input_size: image (height, width) in pixels.
        pixel_mean, pixel_std: normalisation in 0..255; 0 and 1 where the network takes pixels as they are.
        order: channels, ``RGB`` or ``BGR``.
        resample: ``bilinear`` or ``bicubic``.
        output: name of the output that is the descriptor; empty: the only one.

    Raises:
        NetworkFileError: a value that cannot be.
    """

    input_size: Sequence[int]
    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    order: str = "RGB"
    resample: str = "bilinear"
    output: str = ""

    def __post_init__(self) -> None:
        numbers = (len(self.input_size), len(self.pixel_mean), len(self.pixel_std))
        if numbers != (2, 3, 3) or min(self.input_size) < 16 or min(self.pixel_std) <= 0:
            raise NetworkFileError(f"input_size must be two numbers, pixel_mean and pixel_std three each, got {self}")
        if self.order not in ("RGB", "BGR") or self.resample not in [*RESAMPLING]:
            raise NetworkFileError(f"order must be RGB or BGR and resample one of {', '.join(RESAMPLING)}, got {self}")


def read_input_card(path: Path) -> InputCard:
    """The card in a JSON file.

    Raises:
        NetworkFileError: missing, no JSON, or a key that is missing or unknown.
    """
    try:
        return InputCard(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        example = '{"input_size": [256, 128], "pixel_mean": [0, 0, 0], "pixel_std": [1, 1, 1], "order": "BGR"}'
        raise NetworkFileError(
            f"what the network takes is not known: there is no {path}. Write it, for example {example}, or give "
            "--input-size, --pixel-mean, --pixel-std and --order"
        ) from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        known = ", ".join(field.name for field in fields(InputCard))
        raise NetworkFileError(f"{path} is no card of the keys {known}: {error}") from error


def load_network(path: Path, card: InputCard | None = None) -> ImageEncoder:
    """The encoder of a network file; it is matched, strips of the mean colour on the image.

    Args:
        path: ``.onnx``, or OpenVINO's ``.xml`` with its ``.bin`` beside it.
        card: what it takes; None: read from the JSON file of the same name.

    Raises:
        NetworkFileError: the file cannot be read, its runtime is missing, or the card does not fit it.
    """
    if not path.is_file():
        raise NetworkFileError(f"there is no network file {path}")
    card = card or read_input_card(path.with_suffix(".json"))
    run = _onnx(path, card) if path.suffix == ".onnx" else _openvino(path, card)
    network = _Network(run, card.order, _digest(path))
    try:
        with torch.inference_mode():
            found = network(torch.zeros(2, 3, *card.input_size))
    except Exception as error:  # whatever a runtime raises
        raise NetworkFileError(f"{path} cannot take two images of {card.input_size}: {error}") from error
    if found.ndim != 2 or len(found) != 2:
        raise NetworkFileError(f"{path} gives {tuple(found.shape)} for two images, not one descriptor each")
    return ImageEncoder(
        WholeModel(network), input_size=(card.input_size[0], card.input_size[1]), pixel_mean=card.pixel_mean,
        pixel_std=card.pixel_std, resample=card.resample, name=path.name,
    )  # fmt: skip


class _Network(nn.Module):
    """A runtime as a module; its only buffer is the file's digest, by which an index knows its network."""

    def __init__(self, run: Run, order: str, digest: bytes) -> None:
        super().__init__()
        self._run, self.order = run, order
        self.register_buffer("digest", torch.tensor(list(digest + order.encode()), dtype=torch.uint8))

    def forward(self, images: Tensor) -> Tensor:
        ordered = images.flip(1) if self.order == "BGR" else images
        found = self._run(np.ascontiguousarray(ordered.float().cpu().numpy()))
        return torch.from_numpy(np.array(found, dtype=np.float32)).flatten(1)


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256(path.read_bytes())
    weights = path.with_suffix(".bin")
    if path.suffix == ".xml" and weights.is_file():
        digest.update(weights.read_bytes())
    return digest.digest()


def _onnx(path: Path, card: InputCard) -> Run:
    try:
        import onnxruntime
    except ImportError:
        raise NetworkFileError("ONNX files need onnxruntime: pip install 'oamn_plugin[export]'") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exceptions
        raise NetworkFileError(f"{path} cannot be read by onnxruntime: {error}") from error
    inputs = [entry.name for entry in session.get_inputs()]
    output = _only(path, card.output, [entry.name for entry in session.get_outputs()])
    if len(inputs) != 1:
        raise NetworkFileError(f"{path} has the inputs {', '.join(inputs)}: a network of images alone has one")
    return lambda images: session.run([output], {inputs[0]: images})[0]


def _openvino(path: Path, card: InputCard) -> Run:
    try:
        import openvino
    except ImportError:
        raise NetworkFileError("OpenVINO files need openvino: pip install 'oamn_plugin[openvino]'") from None
    try:
        core = openvino.Core()
        model: Any = core.read_model(str(path))
        model.reshape([-1, 3, *card.input_size])
        settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(model, "CPU", settings)
    except Exception as error:  # openvino raises RuntimeError and others
        raise NetworkFileError(f"{path} cannot be read by OpenVINO: {error}") from error
    names = [port.get_any_name() if port.names else str(number) for number, port in enumerate(compiled.outputs)]
    output = names.index(_only(path, card.output, names))
    return lambda images: compiled(images)[output]


def _only(path: Path, wanted: str, names: list[str]) -> str:
    if wanted and wanted not in names:
        raise NetworkFileError(f"{path} has no output {wanted!r}: it has {', '.join(names)}")
    if not wanted and len(names) > 1:
        raise NetworkFileError(f"{path} has the outputs {', '.join(names)}: say which is the descriptor (output)")
    return wanted or names[0]
