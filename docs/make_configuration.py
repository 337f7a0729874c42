"""Writes docs/configuration.md from the comments and field docs of the code, so that the page cannot drift.

python docs/make_configuration.py            writes the page
python docs/make_configuration.py --check    exit code 1 if the page is not up to date

Read are the comments above the keys in ``oamn_plugin/hosts/fastreid/config.py`` and the strings below the fields in
``oamn_plugin/presets.py``. A key or field without either is an error.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
PAGE = DOCS / "configuration.md"
CONFIG = DOCS.parent / "oamn_plugin/hosts/fastreid/config.py"
OPTIONS = DOCS.parent / "oamn_plugin/presets.py"
sys.path.insert(0, str(DOCS.parent))  # runs from a clone without installation

from oamn_plugin.datasets.labels import MARKET_PATTERN  # noqa: E402
from oamn_plugin.presets import PRESETS, Options, preset  # noqa: E402

CONSTANTS = {"MARKET_PATTERN": repr(MARKET_PATTERN)}
"""Defaults that the source names instead of writing them out."""
SECTIONS = {
    "MODEL": "Model",
    "INPUT": "Input",
    "DATASETS": "Data sets",
    "SOLVER": "Solver",
    "SEED": "Seed",
    "TEST": "Test",
}
UNCOMMENTED = {  # fields whose name says all
    "identity_weight": "Weight of the identity loss (cross-entropy).",
    "triplet_weight": "Weight of the triplet loss.",
    "mask1_weight": "Weight of mask loss 1.",
    "mask2_weight": "Weight of mask loss 2.",
    "score_weight": "Weight of the score loss.",
    "triplet_margin": "Margin of the triplet loss.",
    "label_smoothing": "Label smoothing of the identity loss.",
}
HEAD = """\
# Configuration

<!-- Written by `python docs/make_configuration.py`. Do not edit: change the comments in
oamn_plugin/hosts/fastreid/config.py or the field docs in oamn_plugin/presets.py, and run it again. -->

These are the keys that this plugin adds to a fastreid configuration. All keys of fastreid 1.4.0 are there too, with
fastreid's defaults. A key is set in a YAML file (`--config-file`, with its `_BASE_` chain) or on the command line
(`KEY VALUE`). An unknown or misspelt key stops the run; the message names the key, the file and the nearest valid key.

From Python:

```python
import oamn_plugin.hosts.fastreid
from oamn_plugin.hosts.fastreid.config import load_config, oamn_options

cfg = load_config("configs/oamn.yml", ["MODEL.OAMN.MASK_FLOOR", "0.25"])
assert oamn_options(cfg).mask_floor == 0.25
```

The torchreid adapter has lower-case keys of its own (`oamn.preset`, `oamn.mask_floor`, ...): see
`oamn_plugin/hosts/torchreid/config.py`. Its method options are the fields below.

## Values of fastreid's own keys that this plugin adds

| Key | Values added |
|---|---|
| `MODEL.META_ARCHITECTURE` | `OAMN` |
| `MODEL.BACKBONE.NAME` | `timm`, `torchvision`: the network is named by `MODEL.BACKBONE.ARCH` |
| `MODEL.LOSSES.NAME` | `GroupedTripletLoss` for every method; `MaskConsistencyLoss`, `OcclusionScoreLoss`, \
`PositionLoss` for OAMN. A loss that OAMN's list leaves out has weight 0; an empty list is the preset's |
| `SOLVER.SCHED` | `OAMNSteps`: the learning rates of the released OAMN code, stretched to `SOLVER.MAX_EPOCH` |
| `DATASETS.NAMES`, `DATASETS.TESTS` | the names in [Data sets](datasets.md) |

"""
OPTIONS_HEAD = """\
## MODEL.OAMN: options of the method

One key a field of `oamn_plugin.presets.Options`, in upper case. An empty key (the default) takes the value of
`MODEL.OAMN.PRESET`; the three columns show these values. The same fields are keyword arguments of
`oamn_plugin.modeling.OAMN` and of `oamn_plugin.presets.preset`.

"""


@dataclass
class Group:
    """Keys that follow one comment.

    Attributes:
        comment: the comment, one line.
        keys: full names with their defaults as written in the source.
    """

    comment: str
    keys: list[tuple[str, str]] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the page would change")
    page = render()
    if parser.parse_args(arguments).check:
        return int(not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page)
    PAGE.write_text(page, encoding="utf-8")
    return 0


def render() -> str:
    """The whole page."""
    parts = [HEAD, OPTIONS_HEAD, _options_table()]
    groups = read_keys(CONFIG.read_text(encoding="utf-8"))
    for prefix, title in SECTIONS.items():
        own = [group for group in groups if group.keys[0][0].split(".")[0] == prefix]
        parts.append(f"\n## {title}\n\n| Key | Default | Meaning |\n|---|---|---|\n")
        parts += [_row(group) for group in own]
    left_out = [group.keys[0][0] for group in groups if group.keys[0][0].split(".")[0] not in SECTIONS]
    if left_out:
        raise ValueError(f"no section of the page holds {', '.join(left_out)}: add one to SECTIONS")
    return "".join(parts)


def read_keys(source: str) -> list[Group]:
    """The keys set in ``_add_*_keys`` functions, grouped by the comment above them.

    Raises:
        ValueError: a key has no comment above it.
    """
    lines, groups = source.splitlines(), [Group("")]
    for statement in _assignments(ast.parse(source)):
        comment = _comment_above(lines, statement.lineno)
        if comment:
            groups.append(Group(comment))
        name = ast.unparse(statement.targets[0]).removeprefix("cfg.")
        value = ast.unparse(statement.value)
        if value == "CfgNode()":
            if not comment:
                groups.append(Group(""))  # a new group of keys: the comment above the last one is not its own
            continue
        if not groups[-1].comment:
            raise ValueError(f"{CONFIG.name}, line {statement.lineno}: {name} has no comment above it")
        groups[-1].keys.append((name, CONSTANTS.get(value, value)))
    return [group for group in groups if group.keys]


def read_field_docs(source: str) -> dict[str, str]:
    """The string below each field of ``Options``.

    Raises:
        ValueError: a field has neither a string nor an entry in ``UNCOMMENTED``, or both.
    """
    body = next(n.body for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "Options")
    found: dict[str, str] = {}
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = _string(following)
    for name in found:
        if bool(found[name]) == (name in UNCOMMENTED):
            raise ValueError(f"Options.{name} must have a string below it or an entry in UNCOMMENTED, and not both")
    return {name: text or UNCOMMENTED[name] for name, text in found.items()}


def _assignments(tree: ast.Module) -> Iterator[ast.Assign]:
    for function in tree.body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("_add_"):
            yield from (node for node in function.body if isinstance(node, ast.Assign))


def _comment_above(lines: list[str], number: int) -> str:
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#"):
            break
        found.insert(0, line.strip().lstrip("# "))
    return " ".join(found)


def _string(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return ""


def _options_table() -> str:
    docs = read_field_docs(OPTIONS.read_text(encoding="utf-8"))
    values = [preset(name) for name in PRESETS]
    rows = [f"| Key | {' | '.join(PRESETS)} | Meaning |", "|---|" + "---|" * len(PRESETS) + "---|"]
    for one in fields(Options):
        cells = " | ".join(_value(getattr(options, one.name)) for options in values)
        rows.append(f"| `MODEL.OAMN.{one.name.upper()}` | {cells} | {_text(docs[one.name])} |")
    return "\n".join(rows) + "\n"


def _row(group: Group) -> str:
    keys = "<br>".join(f"`{name}`" for name, _ in group.keys)
    values = "<br>".join(_value(ast.literal_eval(value)) for _, value in group.keys)
    return f"| {keys} | {values} | {_text(group.comment)} |\n"


def _value(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    shown = value if isinstance(value, str) else repr(value)
    return f"`{shown}`".replace("|", "\\|")


def _text(text: str) -> str:
    """Source text as Markdown: double backticks become single ones, table bars are escaped."""
    return text.replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
