"""Converts a checkpoint of the released OAMN code into one of this project, or back.

oamn convert-official official.pth converted.pth
oamn convert-official --reverse converted.pth official.pth

To test it: `oamn train Market1501/oamn_official_R50 --eval-only MODEL.WEIGHTS converted.pth`. Entries that only the
released code has (its unused ImageNet classifier) are kept for the way back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oamn_plugin.cli.parser import Parser
from oamn_plugin.errors import ExpectedError

OFFICIAL_EXTRAS = "official_extras"


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    arguments = build_parser().parse_args(argv)
    from oamn_plugin.hosts.shared.checkpoint import load_checkpoint, save_checkpoint

    try:
        content = load_checkpoint(arguments.source)
        save_checkpoint(arguments.target, to_official(content) if arguments.reverse else from_official(content))
    except ValueError as error:
        raise ExpectedError(f"{arguments.source}: {error}") from error
    print(f"wrote {arguments.target}")
    return 0


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("source", type=Path, help="checkpoint to read")
    parser.add_argument("target", type=Path, help="checkpoint to write")
    parser.add_argument("--reverse", action="store_true", help="from this project to the released code")
    return parser


def from_official(content: dict[str, Any]) -> dict[str, Any]:
    """Returns our checkpoint of one of the released code; ValueError lists every entry that does not fit."""
    from oamn_plugin.modeling.official import CHECKPOINT_PREFIX, load_official_state

    model = network_of(content.get("TaskNet"))
    load_official_state(model, content)
    state = {CHECKPOINT_PREFIX + key: value for key, value in model.state_dict().items()}
    return {"model": state, OFFICIAL_EXTRAS: model.official_extras}


def to_official(content: dict[str, Any]) -> dict[str, Any]:
    """Returns the released code's checkpoint of one of ours; ValueError lists every entry that does not fit."""
    from oamn_plugin.modeling.official import CHECKPOINT_PREFIX, remember_extras, to_official_state

    state = content.get("model", content)
    if not isinstance(state, dict):
        raise ValueError(f"its 'model' is a {type(state).__name__}, not a dictionary of weights")
    length = len(CHECKPOINT_PREFIX)
    ours = {key[length:]: value for key, value in state.items() if key.startswith(CHECKPOINT_PREFIX)}
    if not ours:
        raise ValueError(f"no entries named {CHECKPOINT_PREFIX}*: not a checkpoint of this project's OAMN")
    model = network_of(ours)
    try:
        model.load_state_dict(ours)
    except RuntimeError as error:
        raise ValueError(f"only OAMN on a torchvision ResNet-50 converts. {error}") from error
    remember_extras(model, content.get(OFFICIAL_EXTRAS, {}))
    return to_official_state(model)


def network_of(state: Any) -> Any:
    """The one network that the released code has, with the classes of a state's classifier; 0 where it has none."""
    from oamn_plugin.modeling import OAMN

    known = isinstance(state, dict) and "classifier.weight" in state
    return OAMN("resnet50", len(state["classifier.weight"]) if known else 0, (256, 128), "official")
