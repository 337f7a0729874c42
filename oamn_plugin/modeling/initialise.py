"""Starting a model from the weights of another: a baseline of any toolbox, ImageNet, an OAMN of another preset.

Every weight file names the same layers differently: fastreid puts ``backbone.`` before them and MGN copies them into
branches, torchreid's DataParallel puts ``module.`` before them, OAMN cuts them into two encoders. Both sides are
brought to the names of the uncut backbone and compared. The whole backbone must fit; what lies behind it (neck,
classifier, mask and scorer) is taken part by part where the whole part fits, and starts anew elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from oamn_plugin.errors import ExpectedError
from oamn_plugin.modeling.split import HEADS, LAYOUTS, Layout

WRAPPERS = ("module.", "oamn.")
"""Prefixes that tell nothing: of DataParallel, and of OAMN inside fastreid's meta-architecture."""
COUNTER = "num_batches_tracked"
"""Entries that old files lack; nothing that a test computes depends on them."""
MASK = "mask and scorer"
OPENED = re.compile(r"(features|blocks|stages)\.(\d+)\.(.*)")
_MGN_STEM = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3.0"}
_MGN_BRANCH = re.compile(r"b[123]\.([01])\.(\d+)\.(.*)")
_HEADS = {"heads.bottleneck.0": "feat_bn", "heads.pool_layer": "pool", "heads.weight": "classifier.weight"}


class InitialiseError(ExpectedError, ValueError):
    """Weights that a model cannot start from; the message names the file and the first tensor that does not fit."""


@dataclass
class Start:
    """What a model started from.

    Attributes:
        source: the file.
        taken: part of the model to number of tensors; ``backbone`` is always there.
        anew: parts of the model that keep their random weights.
        left: entries of the file that nothing was made of.
        note: what the weights do not tell, empty where there is nothing to say.
    """

    source: str
    taken: dict[str, int] = field(default_factory=dict)
    anew: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    note: str = ""

    def table(self) -> str:
        """The start in a few lines, for a log."""
        rows = [("taken", f"{part}: {count} tensors") for part, count in self.taken.items()]
        rows += [("new", part) for part in self.anew]
        if self.left:
            rows.append(("left", f"{len(self.left)} entries of the file: {_few(self.left)}"))
        if self.note:
            rows.append(("note", self.note))
        return "\n".join([f"Started from {self.source}", *(f"  {word:<6}{text}" for word, text in rows)])


WRAPPINGS = ("model", "state_dict", "model_state")
"""Under which entry a checkpoint keeps its weights: fastreid, torchreid and timm, fastreid's RegNet files."""
NOT_WEIGHTS = ("pixel_mean", "pixel_std")
"""Entries that earlier releases of fastreid saved; today the configuration has them."""
_OLD_NECK = re.compile(r"^(.*\b\w*heads?)\.bnneck\.")
_OLD_CLASSIFIER = re.compile(r"^(.*\b\w*heads?)\.classifier\.weight$")


def state_of(content: Any, source: object) -> dict[str, Tensor]:
    """The weights of a loaded file, without what DataParallel put before their names.

    Args:
        content: of the file; the weights are its ``model``, its ``state_dict`` or itself.
        source: the file, for the message.

    Raises:
        InitialiseError: it holds none.

    >>> import torch
    >>> list(state_of({"state_dict": {"module.a": torch.zeros(1)}, "epoch": 3}, "x.pth"))
    ['a']
    """
    content = content if isinstance(content, Mapping) else {}
    inner = next((content[key] for key in WRAPPINGS if isinstance(content.get(key), Mapping)), content)
    state = {str(name).removeprefix("module."): value for name, value in inner.items() if isinstance(value, Tensor)}
    if not state:
        raise InitialiseError(f"{source} does not hold a state dict of tensors")
    return state


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Entries of fastreid's zoo under today's names, without the pixel statistics that it stores among the weights.

    ``heads.bnneck.`` becomes ``heads.bottleneck.0.`` (``1`` behind a reduction) and ``heads.classifier.weight``
    ``heads.weight``, in each head of a network; what is named as today stays.
    """

    def rename(name: str) -> str:
        neck = _OLD_NECK.match(name)
        if neck:
            place = 1 if f"{neck[1]}.bottleneck.0.weight" in state else 0
            return f"{neck[1]}.bottleneck.{place}.{name[neck.end() :]}"
        return _OLD_CLASSIFIER.sub(r"\1.weight", name)

    return {rename(name): value for name, value in state.items() if name.rsplit(".", 1)[-1] not in NOT_WEIGHTS}


def initialise(model: nn.Module, state: Mapping[str, Tensor], source: str) -> Start:
    """Loads whatever fits of a state dict into a model; its backbone must fit whole.

    Args:
        model: OAMN of any toolbox, or any other model of a toolbox.
        state: of :func:`state_of`.
        source: the file, for messages.

    Raises:
        InitialiseError: no entry is known, or a tensor of the backbone is missing or of another shape. The model is as
            it was.
    """
    theirs = current_names({_bare(name): value for name, value in state.items()})
    names = {_bare(name): name for name in model.state_dict()}
    own = {_bare(name): value for name, value in model.state_dict().items()}
    pairs = _match_backbone(own, theirs, source)
    start = Start(source, {"backbone": len(pairs)})
    heads = _match_heads(own, theirs, set(pairs), start)
    model.load_state_dict({names[to]: theirs[of] for to, of in (pairs | heads).items()}, strict=False)
    used = set(pairs.values()) | set(heads.values())
    start.left = [name for name in theirs if name not in used and not name.endswith(COUNTER)]
    start.note = _stem_note(model, theirs)
    return start


def _bare(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def backbone_names(names: Iterable[str]) -> dict[str, str]:
    """The entries of a model that belong to its backbone, with their names in the uncut backbone.

    >>> backbone_names(["encoder_low.layer3.0.conv1.weight", "encoder_high.layer4.0.conv1.weight", "feat_bn.weight"])
    {'encoder_low.layer3.0.conv1.weight': 'layer3.0.conv1.weight', 'encoder_high.layer4.0.conv1.weight': 'layer4.0.conv1.weight'}
    """  # noqa: E501 one line is what Python prints
    names = list(names)
    if any(name.startswith("encoder_low.") for name in names):
        return _of_oamn(names)
    if any(name.startswith("b1.0.") for name in names) and "backbone.0.weight" in names:
        return _of_mgn(names)
    prefix = "backbone." if any(name.startswith("backbone.") for name in names) else ""
    bare = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    layout = _layout(bare.values())
    kept = None if layout is None else layout.names
    return {
        name: short
        for name, short in bare.items()
        if (child := short.partition(".")[0]) not in HEADS and (kept is None or child in kept or child[:3] == "NL_")
    }


def _layout(names: Iterable[str]) -> Layout | None:
    """The layout whose children with weights are all among those of the names; of several the one with most."""
    children = {name.partition(".")[0] for name in names}
    required = {layout: layout.required - {"maxpool"} for layout in LAYOUTS}
    found = [layout for layout in LAYOUTS if required[layout] <= children]
    return max(found, key=lambda layout: len(required[layout]), default=None)


def _of_oamn(names: list[str]) -> dict[str, str]:
    """Both halves count an opened list (``features.N``) from 0; non-local blocks are woven into their stage."""
    lengths: dict[str, int] = {}
    for name in names:
        if match := OPENED.match(name.removeprefix("encoder_low.")):
            lengths[match[1]] = max(lengths.get(match[1], 0), int(match[2]) + 1)
    found = {}
    for name in names:
        half, _, short = name.partition(".")
        if half not in ("encoder_low", "encoder_high"):
            continue
        if half == "encoder_high" and (match := OPENED.match(short)):
            short = f"{match[1]}.{int(match[2]) + lengths.get(match[1], 0)}.{match[3]}"
        found[name] = re.sub(r"^layer(\d)\.NL_(\d+)\.", r"NL_\1.\2.", short)
    return found


def _of_mgn(names: list[str]) -> dict[str, str]:
    """fastreid's MGN: a stem without names, and three branches of the rest of layer3 and of layer4."""
    found = {}
    for name in names:
        if match := _MGN_BRANCH.match(name):
            stage = f"layer3.{int(match[2]) + 1}" if match[1] == "0" else f"layer4.{match[2]}"
            found[name] = f"{stage}.{match[3]}"
        elif name.startswith("backbone."):
            _, child, rest = name.split(".", 2)
            found[name] = f"{_MGN_STEM[child]}.{rest}"
    return found


def _match_backbone(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Every backbone entry of the model with the entry of the file that it takes."""
    wanted, offered = backbone_names(own), backbone_names(theirs)
    by_name: dict[str, str] = {}
    for name, short in offered.items():
        by_name.setdefault(short, name)
    pairs = {to: to if to in offered else by_name.get(short, "") for to, short in wanted.items()}
    counted = [to for to in pairs if not to.endswith(COUNTER)]
    missing = [to for to in counted if not pairs[to]]
    wrong = [to for to in counted if pairs[to] and theirs[pairs[to]].shape != own[to].shape]
    if not missing and not wrong:
        return {to: of for to, of in pairs.items() if of}
    if (ordered := match_in_order(own, theirs)) is not None:
        return ordered
    if not any(pairs.values()) and _layout(offered.values()) is None:
        raise InitialiseError(
            f"{source} holds no weights that a model could start from: none of its entries is known "
            f"({_few(list(theirs)) or 'it has no tensor'}), wanted are such as {_few(list(wanted))}"
        )
    kinds = [getattr(_layout(names.values()), "name", "another network") for names in (offered, wanted)]
    words = []
    if wrong:
        first = wrong[0]
        shapes = f"{tuple(theirs[pairs[first]].shape)} in the file, {tuple(own[first].shape)} in the model"
        words.append(f"{len(wrong)} backbone tensors are of another shape, such as {first}: {shapes}")
    if missing:
        words.append(f"{len(missing)} backbone tensors are missing, such as {missing[0]}")
    told = f" (file: {kinds[0]}, model: {kinds[1]})" if kinds[0] != kinds[1] else ""
    raise InitialiseError(
        f"{source} is of another architecture than this model{told}: {'; '.join(words)}. Nothing was loaded"
    )


def match_in_order(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, str] | None:
    """Backbone entries in the order of the layers, for the same network under other names.

    So are those matched whose children a toolbox rearranges to make them cuttable (DenseNet, SENet, ShuffleNet), or
    names otherwise (the last convolution of fastreid's MobileNetV2).

    Args:
        own: the model's state dict.
        theirs: the file's.

    Returns:
        Entry of the model to entry of the file, without counters; None where kind or shape of one do not agree.
    """

    def kinds(names: Iterable[str], state: Mapping[str, Tensor]) -> list[tuple[str, tuple[int, ...]]]:
        return [(name.rpartition(".")[2], tuple(state[name].shape)) for name in names]

    wanted, offered = ([name for name in backbone_names(one) if not name.endswith(COUNTER)] for one in (own, theirs))
    return dict(zip(wanted, offered, strict=True)) if kinds(wanted, own) == kinds(offered, theirs) else None


def _match_heads(
    own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], backbone: set[str], start: Start
) -> dict[str, str]:
    """Entries behind the backbone, by whole parts; a classifier only with the neck that it reads."""
    offered = {_HEADS.get(_part(name), _part(name)) + name[len(_part(name)) :]: name for name in theirs}
    parts: dict[str, list[str]] = {}
    for name in own:
        if name not in backbone and not name.endswith(COUNTER):
            parts.setdefault(MASK if name.startswith(("mask.", "scorer.")) else _part(name), []).append(name)
    pairs: dict[str, str] = {}
    whole = True  # whether everything between backbone and classifier came along
    for part, names in sorted(parts.items(), key=lambda item: _is_classifier(item[0])):
        found = {to: offered.get(_HEADS.get(part, part) + to[len(part) :] if part != MASK else to, "") for to in names}
        fits = all(of and theirs[of].shape == own[to].shape for to, of in found.items())
        if fits and (whole or not _is_classifier(part)):
            pairs |= found
            start.taken[part] = len(found)
        else:
            start.anew.append(part)
            whole = whole and part in (MASK, "pool", "heads.pool_layer")
    return pairs


def _part(name: str) -> str:
    """The part of a model that an entry behind its backbone belongs to.

    >>> [_part(name) for name in ("feat_bn.weight", "heads.bottleneck.0.bias", "heads.weight", "classifier.weight")]
    ['feat_bn', 'heads.bottleneck.0', 'heads.weight', 'classifier']
    """
    words = name.split(".")
    if words[0].endswith(("heads", "_head")):
        return ".".join(words[: 3 if words[1] == "bottleneck" else 2])
    return words[0]


def _is_classifier(part: str) -> bool:
    return part.endswith(("classifier", "heads.weight", "_head.weight"))


def _stem_note(model: nn.Module, theirs: Mapping[str, Tensor]) -> str:
    """Weights do not tell how a ResNet pools its stem; the same weights under another pooling describe differently."""
    pools = [one for name, one in model.named_modules() if isinstance(one, nn.MaxPool2d) and "maxpool" in name]
    of_fastreid = any(name.startswith("backbone.layer1.") or name == "backbone.4.0.conv1.weight" for name in theirs)
    of_imagenet = any(name.startswith("layer1.") for name in theirs)
    if not pools or not (of_fastreid or of_imagenet) or bool(pools[0].ceil_mode) == of_fastreid:
        return ""
    here, there = ("without", "with") if pools[0].ceil_mode else ("with", "without")
    return (
        f"this model pools its stem {here} padding, the file's {there} it: the weights fit, descriptors differ from "
        "those of the file's own model"
    )


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
