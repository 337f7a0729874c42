"""Exports a model for other runtimes, and compares their results with those of torch on real images.

oamn export onnx OUT [--images FOLDER]
oamn export torch OUT

OUT/query.* turns images into descriptors and, for a model with a scorer, its logits; OUT/gallery.* turns images and
occlusion types into descriptors. Both take a batch of any size. OUT/graphs.json describes inputs and outputs; the
graphs hold the same as metadata. Images are RGB, resized to the input size: pixels in 0..255, which the graph
normalises, or, with --input normalised, images that the calling program has normalised.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError, need
from oamn_plugin.hosts.encoder import add_model_arguments
from oamn_plugin.weights import catalogue

EXPORTED = {"graphs.json", *(f"{name}.{suffix}" for name in ("query", "gallery") for suffix in ("onnx", "pt2"))}
TOLERANCE = 1e-4
BATCHES = (1, 3)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("format", choices=("onnx", "torch"), help="onnx, or torch.export's own format")
    parser.add_argument("out", type=Path, help="folder to write to")
    takes = "pixels in 0..255 (default), or images that the caller normalises"
    parser.add_argument("--input", choices=("pixels", "normalised"), default="pixels", help=takes)
    gives = "outputs of the query graph: descriptor and, if any, scorer logits (default), or the descriptor alone"
    parser.add_argument("--output", choices=("all", "descriptor"), default="all", help=gives)
    parser.add_argument("--images", default="", help="images for the comparison (default: the embedded data set)")
    add_model_arguments(parser, device=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns 0, or 1 if the exported graphs compute something else."""
    args = build_parser().parse_args(argv)
    if args.format == "onnx":
        need("onnx", "onnxruntime", "onnxscript")
    if args.out.is_dir() and (others := {path.name for path in args.out.iterdir()} - EXPORTED):
        raise ExpectedError(f"{args.out} holds other files, such as {min(others)}: choose another folder")
    from oamn_plugin.hosts.encoder import NETWORK_FILES, model_of
    from oamn_plugin.search.graphs import GalleryGraph, QueryGraph, describe_graphs, exported_unification
    from oamn_plugin.search.words import describe_model

    entry = catalogue().get(args.weights)
    if args.weights.lower().endswith(NETWORK_FILES) or (entry and entry.host == "openvino"):
        raise ExpectedError(f"{args.weights} is a network file already: other runtimes take it as it is")
    encoder = model_of(args)
    print(f"model: {describe_model(encoder)}")
    if exported_unification(encoder) != encoder.unification:
        print("strips are blanked on the image: unlike an index, a graph cannot blank the features of this network")
    pixels = read_pixels(encoder, args.images)
    args.out.mkdir(parents=True, exist_ok=True)
    write, load = (write_onnx, load_onnx) if args.format == "onnx" else (write_torch, load_torch)
    suffix = "onnx" if args.format == "onnx" else "pt2"
    query = QueryGraph(encoder, args.input, args.output == "all")
    card = describe_graphs(encoder, suffix, args.input, query.scored)
    images = pixels if args.input == "pixels" else encoder.normalise(pixels).contiguous()
    largest = 0.0
    for name, graph in (("query", query), ("gallery", GalleryGraph(encoder, args.input))):
        path = args.out / f"{name}.{suffix}"
        write(graph, inputs_of(name, images, 2), path, card)
        difference = compare(graph, load(path), name, images)
        largest = max(largest, difference)
        print(f"{path}: largest difference to torch {difference:.1e} on {len(pixels)} images, batches of {BATCHES}")
    (args.out / "graphs.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    if largest > TOLERANCE:
        print(f"export: the graphs differ from torch by more than {TOLERANCE:g}: do not use them", file=sys.stderr)
        return 1
    return 0


def read_pixels(encoder: Any, folder: str) -> Any:
    """(N, 3, H, W) float pixels of up to ten images, spread over the folder."""
    import torch

    from oamn_plugin.datasets.embedded import ensure
    from oamn_plugin.search.gallery import read_gallery

    images = read_gallery(folder or ensure(size="tiny") / "query")
    chosen = images[:: max(1, len(images) // 10)][:10]
    return torch.stack([encoder.read(image.path) for image in chosen]).float()


def inputs_of(name: str, pixels: Any, count: int, start: int = 0) -> tuple[Any, ...]:
    """Inputs of a graph: images, and for the gallery a type each."""
    import torch

    rows = [(start + step) % len(pixels) for step in range(count)]
    types = torch.tensor([(start + step) % 9 for step in range(count)])
    return (pixels[rows],) if name == "query" else (pixels[rows], types)


def compare(graph: Any, other: Callable[..., Any], name: str, pixels: Any) -> float:
    """The largest difference between two graphs' outputs over all images, types and batch sizes."""
    import torch

    largest = 0.0
    for count in BATCHES:
        for start in range(0, max(len(pixels), 9), count):
            inputs = inputs_of(name, pixels, count, start)
            with torch.no_grad():
                both = graph(*inputs), other(*inputs)
            expected, found = (one if isinstance(one, (tuple, list)) else [one] for one in both)
            largest = max(
                largest, *(float((torch.as_tensor(b) - a).abs().max()) for a, b in zip(expected, found, strict=True))
            )
    return largest


def write_onnx(graph: Any, inputs: tuple[Any, ...], path: Path, card: dict[str, Any]) -> None:
    """One ONNX file with its weights and, as metadata, the card inside."""
    import onnx
    import torch

    names = ["images"] if len(inputs) == 1 else ["images", "types"]
    outputs = card["query" if len(inputs) == 1 else "gallery"]["outputs"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's notes on itself
        torch.onnx.export(
            graph, inputs, str(path), input_names=names, output_names=outputs, dynamo=True, external_data=False,
            dynamic_shapes=dynamic_batch(len(inputs)), verbose=False,
        )  # fmt: skip
    model = onnx.load(str(path))
    words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    onnx.helper.set_model_props(model, words)
    onnx.save(model, str(path))


def load_onnx(path: Path) -> Callable[..., Any]:
    """The file as a function, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    return lambda *inputs: session.run(None, {n: value.numpy() for n, value in zip(names, inputs, strict=True)})


def write_torch(graph: Any, inputs: tuple[Any, ...], path: Path, card: dict[str, Any]) -> None:
    """One file of torch.export, the card beside the program in it."""
    import torch

    program = torch.export.export(graph, inputs, dynamic_shapes=dynamic_batch(len(inputs)))
    torch.export.save(program, path, extra_files={"graphs.json": json.dumps(card)})


def load_torch(path: Path) -> Callable[..., Any]:
    """The file as a function."""
    import torch

    return torch.export.load(path).module()


def dynamic_batch(inputs: int) -> tuple[Any, ...]:
    """Every input's first axis is the batch, of any size."""
    import torch

    batch = torch.export.Dim("batch", min=1, max=65536)
    return tuple({0: batch} for _ in range(inputs))
