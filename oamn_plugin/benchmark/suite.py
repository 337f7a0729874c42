"""A benchmark suite as its YAML states it: methods x seeds x protocols, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from oamn_plugin.configurations import UnknownConfigError, UnreadableConfigError, find_config, read_keys
from oamn_plugin.errors import ExpectedError, did_you_mean
from oamn_plugin.reporting.page import slug


class SuiteError(ExpectedError, ValueError):
    """A suite that cannot run; the message says which key, in which file, and what would be valid."""


@dataclass(frozen=True)
class Host:
    """How a host's training wants its options.

    Attributes:
        output, seed, tests, weights, init: its ``KEY VALUE`` options.
        counted: the key that a training sets from its data where it is 0.
    """

    output: str
    seed: str
    tests: str
    weights: str
    init: str
    counted: str = ""


HOSTS = {
    "fastreid": Host("OUTPUT_DIR", "SEED", "DATASETS.TESTS", "MODEL.WEIGHTS", "MODEL.INIT", "MODEL.HEADS.NUM_CLASSES"),
    "torchreid": Host("data.save_dir", "train.seed", "data.targets", "model.load_weights", "model.init"),
}

_REMOVED = {
    "ablation": "write `parts: {WHAT: [[method with it, method without it], ...]}`",
    "image_views": "leave it out, the cost is estimated from what has run",
    "note": "write a comment of YAML, # ...",
    "published": "leave it out, published figures are in docs/results.md",
}
"""Keys of earlier versions, and what to write instead."""


@dataclass(frozen=True)
class Method:
    """One line of a suite's ``methods``.

    Attributes:
        name: its name in the report.
        config: configuration file; in YAML relative to the suite, to the working folder, or a name of the package.
        opts: ``KEY, VALUE, KEY, VALUE, ...`` on top of it.
        host: ``fastreid`` or ``torchreid``.
        weights_of: name of another method: nothing is trained, that one's weights are tested with this configuration.
            For what differs in testing alone.
        starts_from: name of a method above it, with whose weights of the same seed this one's training begins.
    """

    name: str
    config: str
    opts: tuple[str, ...] = ()
    host: str = "fastreid"
    weights_of: str = ""
    starts_from: str = ""

    @property
    def source(self) -> str:
        """Name of the method whose weights it tests or starts from, empty where it needs none."""
        return self.weights_of or self.starts_from


@dataclass(frozen=True)
class Suite:
    """A checked suite.

    Attributes:
        name: heading of the report.
        output: folder of the runs; suites that share it share the runs that they have in common.
        report: folder of the report, ``<output>/report`` unless given.
        baseline: the method that the others are compared with.
        methods: what is trained.
        seeds: one run a method and seed.
        opts: options of every fastreid method, before the method's own.
        torchreid_opts: the same for torchreid methods.
        protocols: data sets to test on; empty leaves it to the configurations.
        parts: what is asked about to pairs ``[with it, without it]`` of methods; report and page answer.
        command: what starts a training instead of ``python SCRIPT``; ``python`` means this interpreter.
        example: method of fastreid; the report opens with a query of the first protocol and its rank lists, by the
            weights of the first seed.
        jobs: runs at a time. Several share the cores; on a CPU two trainings of one thread each are quicker than one
            after the other with two, and their last bits may differ from those of another number of threads.
        about: what the suite's page says of budget, initialisation and machine.
    """

    name: str
    output: str
    baseline: str
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] = (0,)
    opts: tuple[str, ...] = ()
    torchreid_opts: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    parts: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    report: str = ""
    example: str = ""
    jobs: int = 1
    about: str = ""

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise SuiteError(f"jobs must be at least 1, got {self.jobs}")
        if len(set(self.seeds)) < len(self.seeds):
            raise SuiteError(f"a seed is listed twice: {', '.join(map(str, self.seeds))}")
        if min(self.seeds, default=0) < 0:
            raise SuiteError(f"seeds must hold whole numbers from 0, got {min(self.seeds)}")
        for method in self.methods:
            host = HOSTS[method.host]
            for key in self.options(method)[::2]:
                if key in (host.output, host.seed):
                    raise SuiteError(f"{method.name}: {key} is the suite's to set, by `output` and `seeds`")
                if (method.source and key == host.weights) or (method.starts_from and key == host.init):
                    raise SuiteError(f"{method.name}: {key} is the suite's to set, by `weights_of` or `starts_from`")

    def options(self, method: Method) -> tuple[str, ...]:
        """``KEY, VALUE, ...`` of a method: the suite's, then its own."""
        return (self.opts if method.host == "fastreid" else self.torchreid_opts) + method.opts

    def run_folder(self, method: Method, seed: int) -> Path:
        """Where a run lives."""
        return Path(self.output) / slug(method.name) / f"seed{seed}"

    def source(self, method: Method) -> Method:
        """The method whose weights this one tests or starts from: itself without ``weights_of`` and ``starts_from``."""
        return next(trained for trained in self.methods if trained.name == (method.source or method.name))

    def only(self, names: Sequence[str]) -> list[Method]:
        """The methods of these names, all for none.

        Raises:
            SuiteError: a name is unknown; the nearest one is named.
        """
        self._check_known(names, "--only")
        return [method for method in self.methods if not names or method.name in names]

    def against(self, baseline: str) -> Suite:
        """The same suite, its report compared with another of its methods; no run becomes stale.

        Raises:
            SuiteError: the name is unknown; the nearest one is named.
        """
        self._check_known([baseline], "--baseline")
        return replace(self, baseline=baseline)

    def _check_known(self, names: Sequence[str], flag: str) -> None:
        known = [method.name for method in self.methods]
        for name in names:
            if name not in known:
                raise SuiteError(f"{flag}: there is no method {name!r}.{_nearest(name, known)}")


def load_suite(path: str | Path) -> Suite:
    """Reads and checks a suite.

    Args:
        path: its YAML file, or the name of one of the package.

    Raises:
        SuiteError: the file is missing or no YAML mapping; a key is unknown, missing or of the wrong kind; a name that
            the suite refers to is not one of its methods; two methods share a folder; a configuration is missing.
    """
    try:
        path = find_config(str(path), "suites")
    except UnknownConfigError as error:
        raise SuiteError(f"there is no suite {str(path)!r}. {error.hint}") from error
    try:
        content = read_keys(path)
    except UnreadableConfigError as error:
        raise SuiteError(str(error)) from error
    _check_keys(content, Suite, str(path))
    if not isinstance(content.get("methods"), list) or not content["methods"]:
        raise SuiteError(f"{path}: methods must be a list of methods, each with a name and a config")
    methods = tuple(
        _method(entry, path, f"{path}, method {number + 1}") for number, entry in enumerate(content["methods"])
    )
    suite = Suite(
        name=str(content.get("name", Path(path).stem)),
        output=str(content["output"]),
        baseline=str(content["baseline"]),
        methods=methods,
        about=str(content.get("about") or ""),
        seeds=tuple(_integer(seed, f"{path}: seeds") for seed in _list(content, "seeds", path) or [0]),
        opts=_pairs(content, "opts", path),
        torchreid_opts=_pairs(content, "torchreid_opts", path),
        protocols=tuple(map(str, _list(content, "protocols", path))),
        parts=_parts(content.get("parts") or {}, path),
        command=tuple(map(str, _list(content, "command", path))),
        report=str(content.get("report") or Path(content["output"]) / "report"),
        example=str(content.get("example", "")),
        jobs=_integer(content.get("jobs", 1), f"{path}: jobs"),
    )
    _check_names(suite, str(path))
    return suite


def _method(entry: Any, path: Path, place: str) -> Method:
    if not isinstance(entry, dict):
        raise SuiteError(f"{place} must be a mapping with a name and a config, got {entry!r}")
    _check_keys(entry, Method, place)
    method = Method(
        name=str(entry["name"]),
        config=str(entry["config"]),
        opts=_pairs(entry, "opts", place),
        host=str(entry.get("host", "fastreid")),
        weights_of=str(entry.get("weights_of", "")),
        starts_from=str(entry.get("starts_from", "")),
    )
    if method.host not in HOSTS:
        raise SuiteError(f"{place}: unknown host {method.host!r}.{_nearest(method.host, list(HOSTS))}")
    try:
        return replace(method, config=str(find_config(method.config, beside=path.parent)))
    except UnknownConfigError as error:
        raise SuiteError(f"{place} ({method.name}): {error}") from error


def _check_keys(content: dict[str, Any], kind: type[Suite] | type[Method], place: str) -> None:
    known = [field.name for field in fields(kind)]
    for key in content:
        if key in _REMOVED:
            raise SuiteError(f"{place}: the key {key!r} is no longer read: {_REMOVED[key]}")
        if key not in known:
            raise SuiteError(f"{place}: unknown key {key!r}.{_nearest(str(key), known)}")
    for key in ("name", "config") if kind is Method else ("output", "baseline", "methods"):
        if key not in content:
            raise SuiteError(f"{place}: the key {key!r} is missing")


def _check_names(suite: Suite, place: str) -> None:
    names = [method.name for method in suite.methods]
    for key, name in [
        ("baseline", suite.baseline),
        *([("example", suite.example)] if suite.example else []),
        *((f"parts, {part}:", name) for part, pairs in suite.parts.items() for pair in pairs for name in pair),
        *(
            (key, name)
            for method in suite.methods
            for key in ("weights_of", "starts_from")
            if (name := getattr(method, key))
        ),
    ]:
        if name not in names:
            raise SuiteError(f"{place}: {key} {name!r} is not one of the methods.{_nearest(name, names)}")
    for method in suite.methods:
        if method.weights_of and method.starts_from:
            raise SuiteError(f"{place}: {method.name!r} has weights_of and starts_from; give one of them")
        source = suite.source(method)
        if method.source and (source.weights_of or source.host != method.host):
            key = "weights_of" if method.weights_of else "starts_from"
            raise SuiteError(f"{place}: {key} {method.source!r} must be a method of its host that is trained")
        if method.starts_from and names.index(source.name) >= names.index(method.name):  # a circle would wait for ever
            raise SuiteError(f"{place}: starts_from {source.name!r} must stand above {method.name!r}")
    folders: dict[str, str] = {}
    for name in names:
        if slug(name) in folders:
            raise SuiteError(f"{place}: {name!r} and {folders[slug(name)]!r} would share the folder {slug(name)!r}")
        folders[slug(name)] = name


def _list(content: dict[str, Any], key: str, place: object) -> list[Any]:
    value = content.get(key) or []
    if not isinstance(value, list):
        raise SuiteError(f"{place}: {key} must be a list, got {value!r}")
    return value


def _parts(content: Any, place: object) -> dict[str, tuple[tuple[str, ...], ...]]:
    if not isinstance(content, dict):
        raise SuiteError(f"{place}: parts must map what is asked about to pairs of methods, got {content!r}")
    found = {}
    for part in content:
        pairs = _list(content, part, place)
        if any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
            wanted = "give a list of pairs of methods, [[with it, without it], ...]"
            raise SuiteError(f"{place}: parts, {part}: {wanted}, got {pairs}")
        found[str(part)] = tuple(tuple(map(str, pair)) for pair in pairs)
    return found


def _pairs(content: dict[str, Any], key: str, place: object) -> tuple[str, ...]:
    values = _list(content, key, place)
    if len(values) % 2:
        raise SuiteError(f"{place}: {key} come as KEY, VALUE, KEY, VALUE, ...; got {len(values)} entries")
    return tuple(str(value) for value in values)


def _integer(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SuiteError(f"{place} must hold whole numbers from 0, got {value!r}")
    return value


def _nearest(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, cutoff=0.5) or f" Known: {', '.join(known)}"
