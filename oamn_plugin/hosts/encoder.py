"""The model that a command works with: the packaged one, weights with their configuration, or a network file."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oamn_plugin.errors import ExpectedError
from oamn_plugin.presets import UNIFICATIONS
from oamn_plugin.weights import entry_of, locate

if TYPE_CHECKING:
    from oamn_plugin.search.encoder import ImageEncoder

UNIFICATION_HELP = (
    "none: plain matching; matched: for each match the part is covered that fits best, with any model; typed: the part "
    "that an OAMN's own scorer takes for hidden is covered. Default: what an OAMN's preset says, else matched"
)
NETWORK_FILES = (".onnx", ".xml")


class ModelChoiceError(ExpectedError, ValueError):
    """The arguments that name a model are incomplete or do not fit together."""


def add_model_arguments(parser: argparse.ArgumentParser, several: bool = False, device: bool = True) -> None:
    """Adds to a command the arguments that name a model and its unification.

    Args:
        parser: of the command.
        several: several kinds of unification may be named.
        device: where the network runs may be named.
    """
    group = parser.add_argument_group("model", "none: the small model that ships with the package")
    group.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="checkpoint, network file (.onnx, .xml), or name of `oamn weights list`",
    )
    group.add_argument("--config-file", default="", metavar="FILE", help="YAML file that a checkpoint was trained with")
    group.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="keys that replace the file's")
    if device:
        group.add_argument("--device", help="where it runs: cpu, cuda or mps (default: as configured, or cpu)")
    card = parser.add_argument_group("input of a network file", "or FILE.json beside it holds these")
    card.add_argument("--input-size", type=int, nargs=2, metavar=("H", "W"), help="pixels")
    card.add_argument("--pixel-mean", type=float, nargs=3, metavar="MEAN", help="in 0..255, order RGB")
    card.add_argument("--pixel-std", type=float, nargs=3, metavar="STD", help="in 0..255, order RGB")
    card.add_argument("--order", choices=("RGB", "BGR"), help="order of the channels")
    card.add_argument("--output-name", default="", metavar="NAME", help="output that is the descriptor")
    how = parser.add_argument_group("unification", UNIFICATION_HELP)
    how.add_argument(
        "--unification",
        choices=UNIFICATIONS,
        nargs="+" if several else None,
        help="one or more kinds, each evaluated" if several else "how queries and gallery are unified",
    )
    how.add_argument("--blank", choices=("image", "features"), help="where gallery images are blanked")
    how.add_argument("--fill", choices=("mean", "black"), help="colour of blanked strips on the image")
    how.add_argument("--type-set", choices=("nine", "five"), help="occlusion types that are matched")
    how.add_argument("--temperature", type=float, help="of matched unification")
    how.add_argument("--none-prior", type=float, help="prior probability that a query is not occluded")


def model_of(args: argparse.Namespace, index: str | Path | None = None) -> ImageEncoder:
    """The encoder that parsed arguments name.

    Args:
        args: of :func:`add_model_arguments`.
        index: place of a gallery index, whose own model is taken where the arguments name none.

    Raises:
        ExpectedError: see :func:`load_model`.
    """
    card = card_of(args)
    named = bool(args.config_file or args.weights or args.opts or card)
    stored = None if named or index is None else index_model(index)
    given = {
        "kind": args.unification,
        "place": args.blank,
        "fill": args.fill,
        "types": args.type_set,
        "temperature": args.temperature,
        "none_prior": args.none_prior,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if stored is not None:
        encoder = load_index_model(stored, **given)
    else:
        encoder = unified_as(load_model(args.config_file, args.weights, args.opts, card), **given)
    if getattr(args, "device", None):
        encoder.to(args.device)
    return encoder


def index_model(index: str | Path) -> dict[str, Any] | None:
    """What an index stores about the model it was built with; None without an index, or if it stores nothing.

    Raises:
        GalleryIndexError: a place in Milvus that cannot be reached.
    """
    from oamn_plugin.search import open_index
    from oamn_plugin.search.files import NoIndexError

    try:
        model = open_index(index).model
    except NoIndexError:
        return None
    return model if model and model.get("source") is not None else None


def load_index_model(model: Mapping[str, Any], **changes: Any) -> ImageEncoder:
    """The encoder that an index was built with.

    Args:
        model: of :func:`index_model`.
        **changes: settings of its unification that are other ones now.

    Raises:
        ModelChoiceError: damaged entries, or files that are no longer there.
        ExpectedError: see :func:`load_model`.
    """
    from oamn_plugin.retrieval.scorer_fit import ScorerFit
    from oamn_plugin.search.network_file import InputCard

    try:
        source, settings = dict(model["source"]), dict(model["unification"])
        config_file, weights = files = source["config_file"], source["weights"]
        opts, card = list(source["opts"]), source["card"]
        if not all(isinstance(word, str) for word in (*files, *opts)) or not isinstance(card, dict | None):
            raise TypeError("config_file, weights and opts must be texts")
        if card:
            InputCard(**card)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelChoiceError(f"the index does not say rightly how its model is loaded: {error!r}") from error
    missing = [name for name in files if name and not Path(name).exists()]
    if missing:
        raise ModelChoiceError(
            f"the model of the index is no longer at {', '.join(missing)}: say with --weights (and --config-file) where"
        )
    encoder = load_model(config_file, weights, opts, card)
    # thresholds of the scorer are no matter of an index: the weights may have been calibrated since
    others: tuple[str, ...] = ScorerFit._fields
    if settings.get("kind") != "matched":  # an index that was never matched says nothing of how to
        others += ("types", "temperature", "none_prior")
    settings = {name: value for name, value in settings.items() if name not in others}
    try:
        return unified_as(encoder, **settings | changes)
    except TypeError as error:
        raise ModelChoiceError(f"the index does not say rightly how its model is unified: {error}") from error


def unified_as(encoder: ImageEncoder, **settings: Any) -> ImageEncoder:
    """The encoder with other settings of its unification. Plain matching keeps the model's own, for who unifies later.

    Raises:
        ModelChoiceError: settings that cannot be, or that its network cannot do.
    """
    from oamn_plugin.retrieval.unification import unification_of

    try:
        own = encoder.unification.kind
        own = unification_of(encoder.model).kind if own == "none" else own
        if settings.get("kind", "none") not in ("none", own):
            encoder.unification = unification_of(encoder.model, settings["kind"])
        encoder.unification = replace(encoder.unification, **settings)
    except ValueError as error:
        raise ModelChoiceError(str(error)) from error
    if encoder.unification.kind == "typed" and not encoder.has_scorer:
        raise ModelChoiceError("typed unification reads OAMN's scorer, which this model has not: choose matched")
    if encoder.unification.place == "features" and not encoder.model.blanks_features:
        raise ModelChoiceError("this network cannot be cut at stride 16: leave out --blank features")
    return encoder


def card_of(args: argparse.Namespace) -> dict[str, Any] | None:
    """The input of a network file as the arguments describe it; None if they do not.

    Raises:
        ModelChoiceError: some of it and not all.
    """
    given = {name: getattr(args, name) for name in ("input_size", "pixel_mean", "pixel_std", "order")}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if missing:
        flags = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise ModelChoiceError(f"the input of a network file is stated in full or not at all: {flags} missing")
    return {**given, "output": args.output_name}


def load_model(
    config_file: str = "", weights: str = "", opts: Sequence[str] | None = None, card: dict[str, Any] | None = None
) -> ImageEncoder:
    """The encoder of weights with their configuration, of a network file, or of the packaged model.

    Args:
        config_file: path or name, of fastreid (keys such as ``MODEL``) or torchreid (``model``).
        weights: checkpoint of that configuration; ``.onnx`` or ``.xml``; or a name of ``oamn weights list``, which
            needs no configuration.
        opts: ``KEY VALUE`` pairs on top of the configuration.
        card: attributes of :class:`oamn_plugin.search.network_file.InputCard`, for a network file.

    Raises:
        ModelChoiceError: one without the other.
        WeightsError: no file and no name of weights.
        ConfigError: an invalid configuration.
        CheckpointError: weights that are missing, damaged or of another model.
        ExpectedError: a network file that does not work.
    """
    from oamn_plugin.hosts.shared.config import config_file_of

    opts = [str(word) for word in opts or ()]
    if weights and not Path(weights).is_file():
        entry = entry_of(weights)
        if not config_file and card is None:
            config_file, own_opts, card = entry.model()
            opts = own_opts + opts
        weights = str(locate(weights))
    # an index keeps the files, not the names: it loads its model from any folder
    config_file = config_file_of(config_file) if config_file else ""
    encoder = _load(config_file, weights, opts, card)
    files = {"config_file": config_file, "weights": weights}
    places = {name: os.path.abspath(path) if path else "" for name, path in files.items()}
    encoder.source = {**places, "opts": opts, "card": card}
    return encoder


def _load(config_file: str, weights: str, opts: list[str], card: dict[str, Any] | None) -> ImageEncoder:
    if not config_file and not weights:
        if opts:
            raise ModelChoiceError("--opts replaces keys of a configuration: give --config-file and --weights too")
        from oamn_plugin.search.encoder import packaged_encoder

        return packaged_encoder()
    if Path(weights).suffix.lower() in NETWORK_FILES:
        from oamn_plugin.search.network_file import InputCard, load_network

        if config_file or opts:
            raise ModelChoiceError(f"{weights} is a network file: it has no configuration (--config-file, --opts)")
        return load_network(Path(weights), None if card is None else InputCard(**card))
    if card is not None:
        raise ModelChoiceError("--input-size and what belongs to it describe network files (.onnx, .xml)")
    if not weights or not (config_file or "model.name" in opts):
        both = "leave out both to use the packaged model"
        if weights:
            needed = "--config-file FILE, in Python config=FILE"
            raise ModelChoiceError(f"{weights} needs the configuration it was trained with ({needed}); {both}")
        raise ModelChoiceError(f"{config_file} needs its weights too (--weights FILE, in Python model=FILE); {both}")
    if host_of_config(config_file, opts) == "torchreid":
        from oamn_plugin.hosts.torchreid.inference import load_encoder as load_torchreid

        return load_torchreid(config_file, weights, opts)
    import oamn_plugin.hosts.fastreid  # noqa: F401 only registration
    from oamn_plugin.hosts.fastreid.inference import load_encoder

    return load_encoder(config_file, weights, opts)


def host_of_config(config_file: str, opts: Sequence[str] = ()) -> str:
    """``torchreid`` if the first key of a file, or without one of the options, is in lower case, else ``fastreid``."""
    import yaml

    keys = list(opts[:1])
    if config_file:
        try:
            content = yaml.safe_load(Path(config_file).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            content = None  # the toolbox's own reader explains what is wrong
        keys = [str(key) for key in content if key != "_BASE_"] if isinstance(content, dict) else []
    return "torchreid" if keys and keys[0].islower() else "fastreid"
