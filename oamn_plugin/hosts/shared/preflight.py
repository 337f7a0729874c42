"""Checks before the first step that both hosts share; each host adds those of its own keys."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from oamn_plugin.augmentation.objects import CutOuts
from oamn_plugin.datasets.records import Record
from oamn_plugin.errors import ExpectedError, did_you_mean
from oamn_plugin.hosts.shared.config import case_of
from oamn_plugin.hosts.shared.errors import ConfigError
from oamn_plugin.hosts.shared.evaluation import without_match
from oamn_plugin.hosts.shared.run_folder import busy
from oamn_plugin.locks import LOCK, holder
from oamn_plugin.presets import Options

SEED_LIMIT = 2**31
"""numpy's old generator, which the hosts draw from, takes no larger seed from every process."""
LABEL_LIMIT = 2**63


class PreflightError(ConfigError):
    """A run cannot start; the message has one line for each finding."""


def refuse(findings: Sequence[str]) -> None:
    """Raises PreflightError with every finding once; one finding is one line."""
    findings = list(dict.fromkeys(findings))
    if len(findings) == 1:
        raise PreflightError(f"this run cannot work: {findings[0]}")
    if findings:
        raise PreflightError("this run cannot work:\n" + "\n".join(f"  - {finding}" for finding in findings))


def unknown_names(words: Iterable[tuple[str, str, Collection[str]]]) -> list[str]:
    """A finding for each key, name and registry where the registry has no such name."""
    return [
        f"{key}: there is no {name!r}.{did_you_mean(str(name), known)} Known: {', '.join(sorted(known))}"
        for key, name, known in words
        if name not in known
    ]


def wrong_seed(key: str, seed: int, lowest: int) -> list[str]:
    """A finding where a seed is out of range."""
    fits = lowest <= seed < SEED_LIMIT
    return [] if fits else [f"{key} must lie between {lowest} and {SEED_LIMIT - 1}, got {seed}"]


def too_small_batch(key: str, images: int) -> list[str]:
    """A finding where a training batch is one image: batch normalisation and triplets need more."""
    return [f"{key} must be 2 or more: one image has no batch statistics"] if images == 1 else []


def not_three(key: str, values: Sequence[Any], above: float = -math.inf) -> list[str]:
    """A line if values are not three finite numbers, above another one."""
    if len(values) == 3 and all(is_number(value) and value > above for value in values):
        return []
    return [f"{key} must be three numbers{' above 0' if above == 0 else ''}, got {[*values]}"]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def idle_occlusion(
    keys: str, settings: Mapping[str, Any], method: str, options: tuple[Options, Options] | None
) -> list[str]:
    """A finding for each setting of the training occlusion that has no effect because of another one.

    Args:
        keys: prefix of the occlusion's own keys, ``INPUT.OCCLUSION.`` or ``occlusion.``.
        settings: these keys.
        method: prefix of the method's keys.
        options: of an OAMN, and those of its preset; None: any other model.
    """
    case = case_of(keys)
    prob, black, cut, objects = (case(name) for name in ("prob", "black_share", "cut_share", "objects"))
    if options is None:
        idle = [] if settings[prob] else [name for name in (black, cut, objects) if settings[name]]
        return [f"{keys}{name} does nothing while {keys}{prob} is 0" for name in idle]
    axes, covered = method + case("axes"), method + case("occluded_share")
    own, plain = options
    found = [
        f"{method}{case(name)} does nothing with {axes} above 0: it is drawn for one view an image alone"
        for name in ("occluded_share", "cut_share")
        if own.axes and getattr(own, name) != getattr(plain, name)
    ]
    if settings[prob] or settings[black] or settings[cut]:
        found.append(
            f"{keys[:-1]}, but for {objects}, is for other methods: OAMN's views are set by {covered}, {black}, {cut} "
            f"and {case('patch_source')}"
        )
    if settings[objects] and own.axes:
        found.append(f"{keys}{objects} is for one view an image: {axes} must be 0")
    return found


def unusable_folder(key: str, folder: str, train: bool) -> list[str]:
    """A finding where the run folder cannot be written to, or a training that runs holds it."""
    place = Path(folder).absolute()
    existing = next(one for one in (place, *place.parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return [f"{key} {folder} is not writable"]
    owner = holder(place / LOCK) if train else None
    return [f"{key} {busy(Path(folder), owner)}"] if owner else []


def failure(check: Callable[[], object]) -> list[str]:
    """The message of the :class:`ExpectedError` that a call raises; empty if it raises none."""
    try:
        check()
    except ExpectedError as error:
        return [str(error)]
    return []


def loaded(load: Callable[[str], Any], names: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Data sets by name, and a finding for each that is not there."""
    sets, missing = {}, []
    for name in dict.fromkeys(names):
        try:
            sets[name] = load(name)
        except (ValueError, RuntimeError, OSError) as error:
            missing.append(f"{name}: {error}")
    return sets, missing


def wrong_splits(parts: Mapping[tuple[str, str], Sequence[Record]], tell: Callable[[str], object]) -> list[str]:
    """Findings in the data sets to be tested on; identities, images and cameras of every split are printed as a table.

    Args:
        parts: (data set, ``train``, ``query`` or ``gallery``) to its records.
        tell: is given what is odd and no reason to stop: queries that nothing can find.
    """
    rows = [
        [*name, len({one.pid for one in records}), len(records), len({one.camid for one in records})]
        for name, records in parts.items()
    ]
    if rows:
        print(tabulate(rows, headers=["data set", "split", "identities", "images", "cameras"]), flush=True)
    found = []
    for name, part in parts:
        if part == "query":
            found += _wrong_split(name, parts[name, "query"], parts[name, "gallery"], tell)
    return found


def _wrong_split(
    name: str, query: Sequence[Record], gallery: Sequence[Record], tell: Callable[[str], object]
) -> list[str]:
    if not query or not gallery:
        return [f"{name}: {len(query)} queries and {len(gallery)} gallery images"]
    for record in (*query, *gallery):
        if not all(-LABEL_LIMIT <= label < LABEL_LIMIT for label in (record.pid, record.camid)):
            return [f"{name}: identity {record.pid} or camera {record.camid} of {record.path} exceeds 64 bits"]
    lost = without_match(query, gallery)
    if len(lost) == len(query):
        return [f"{name}: no query has its identity in the gallery under another camera"]
    if lost:
        tell(
            f"{name}: {len(lost)} of {len(query)} queries have no match under another camera and count in no score, "
            f"such as {lost[0].path}"
        )
    return []


def wrong_objects(key: str, folder: str) -> list[str]:
    """A line where a folder of cut-outs cannot be used."""
    return [f"{key}: {wrong}" for wrong in failure(lambda: CutOuts(folder))] if folder else []
