"""Reads `specialist.toml`: every key known, of its type and in its range, or one clear sentence."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from trainer.errors import SpecError
from trainer.spec.spec import METRICS, METRICS_OF, SPLITS, TASKS, Spec

# Key to the least and the greatest value that makes sense.
RANGES: Mapping[str, tuple[float, float]] = {
    "data.core_share": (0.01, 0.6),
    "data.held_out_share": (0.01, 0.6),
    "evaluate.confidence": (0.5, 0.9999),
    "evaluate.resamples": (100, 100_000),
    "evaluate.regressions_allowed": (0, 1_000_000),
    "evaluate.reruns": (1, 100),
    "evaluate.looks": (1, 1000),
    "evaluate.leak_words": (2, 50),
    "evaluate.leak_share": (0.05, 1.0),
    "evaluate.suite_cases": (100, 1_000_000),
    "evaluate.least_lead": (-1000, 1000),
    "specialise.trials": (1, 1000),
    "specialise.folds": (2, 20),
    "specialise.cores": (1, 1024),
    "specialise.workers": (1, 1024),
    "specialise.memory_gib": (0.25, 4096),
    "specialise.nice": (0, 19),
    "specialise.trial_seconds": (1, 1e7),
    "teacher.check": (20, 100_000),
    "teacher.agreement": (0.5, 1.0),
    "teacher.calls": (1, 10_000_000),
    "teacher.timeout_seconds": (0.1, 3600),
    "teacher.attempts": (1, 20),
    "stop.rounds": (1, 1000),
    "stop.patience": (1, 1000),
    "stop.improvement": (0, 1000),
    "stop.trials": (1, 100_000),
    "stop.seconds": (1, 1e8),
    "stop.divergence": (0, 1000),
    "decide.miss": (0, 1e9),
    "decide.false_alarm": (0, 1e9),
    "seed": (0, 2**31 - 1),
    "data.latest": (0, 2**31 - 1),
}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "task": TASKS,
    "data.split": SPLITS,
    "data.duplicates": ("refuse", "drop", "drop_near"),
    "data.personal_data": ("none", "pseudonymous", "personal", "special"),
    "specialise.device": ("cpu", "cuda"),
    "propose.materiality": ("low", "medium", "high"),
    "evaluate.gates.metric": tuple(METRICS),
    "evaluate.gates.on": ("core", "held_out", "both"),
}


def read_spec(path: Path) -> Spec:
    """Read the file.

    Raises:
        SpecError: it cannot be read, a key is unknown (with the nearest known one), missing, of
            another type or out of its range.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    return parse_spec(text, str(path), path.resolve().parent)


def parse_spec(text: str, named: str, folder: Path) -> Spec:
    """Read the text of a file. Raises as `read_spec`."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{named} is no TOML: {error}.") from error
    spec: Spec = read_table(Spec, told, named, Limits(RANGES, CHOICES))
    _check_whole(spec, named)
    return dataclasses.replace(spec, folder=str(folder))


def _check_whole(spec: Spec, named: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", spec.name):
        raise SpecError(f"{named}: name must be letters, digits, '.', '_' and '-'.")
    if not spec.evaluate.gates:
        raise SpecError(
            f"{named}: nothing is asked of a candidate; add at least one [[evaluate.gates]]."
        )
    asked = [(gate.metric, gate.on) for gate in spec.evaluate.gates]
    if len(set(asked)) != len(asked):
        raise SpecError(f"{named}: a metric is gated twice on the same suite.")
    if spec.data.note and spec.task != "sections":
        raise SpecError(f"{named}: data.note has no meaning for {spec.task}.")
    for gate in spec.evaluate.gates:
        if gate.metric not in METRICS_OF[spec.task]:
            raise SpecError(f"{named}: the metric {gate.metric} has no meaning for {spec.task}.")
    if spec.data.core_share + spec.data.held_out_share >= 0.9:
        raise SpecError(f"{named}: core_share and held_out_share leave no tenth for training.")
    if spec.data.split in ("time", "group") and not spec.data.split_by:
        raise SpecError(f'{named}: data.split = "{spec.data.split}" needs data.split_by.')
    if spec.data.source == "csv" and not (spec.data.path and spec.data.label):
        raise SpecError(f'{named}: data.source = "csv" needs data.path and data.label.')
    if (
        spec.task == "sections"
        and spec.data.source == "csv"
        and not (spec.data.text and spec.data.note)
    ):
        raise SpecError(f'{named}: task = "sections" needs data.text and data.note.')
    if spec.data.more and spec.task == "sections":
        raise SpecError(f"{named}: data.more has labels, but sections need their notes, too.")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Least and greatest of numbers, and the words that a text may be, by dotted key."""

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[str, ...]]


def read_table(kind: Any, told: Mapping[str, Any], named: str, limits: Limits) -> Any:
    """A dataclass of tables as TOML has them; `named` is the file in what an error says.

    Raises:
        SpecError: a key is unknown, missing, of another type or out of its range.
    """
    return _table(kind, told, "", named, limits)


def _table(kind: Any, told: Mapping[str, Any], where: str, named: str, limits: Limits) -> Any:
    if not isinstance(told, dict):
        raise SpecError(f"{named}: {where or 'the file'} must be a table.")
    hints = get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.name != "folder"}
    for key in told:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(fields)}."
            raise SpecError(f"{named}: {_dotted(where, key)} is not known{hint}")
    for name, f in fields.items():
        absent = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if absent and name not in told:
            raise SpecError(f"{named}: {_dotted(where, name)} is missing.")
    found = {key: _value(hints[key], told[key], _dotted(where, key), named, limits) for key in told}
    return kind(**found)


def _value(kind: Any, told: Any, where: str, named: str, limits: Limits) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(inner[0], told, where, named, limits)
    if dataclasses.is_dataclass(kind):
        return _table(kind, told, where, named, limits)
    if origin is tuple:
        if not isinstance(told, list):
            raise SpecError(f"{named}: {where} must be a list.")
        fixed = len(inner) if inner[-1] is not Ellipsis else None
        if fixed is not None and len(told) != fixed:
            raise SpecError(f"{named}: {where} must have {fixed} entries.")
        return tuple(_value(inner[0], item, where, named, limits) for item in told)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(told, dict):
            raise SpecError(f"{named}: {where} must be a table.")
        return {
            key: _value(inner[1], item, f"{where}.{key}", named, limits)
            for key, item in told.items()
        }
    if kind is float and isinstance(told, int) and not isinstance(told, bool):
        told = float(told)
    if type(told) is not kind:
        word = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise SpecError(f"{named}: {where} must be {word}.")
    _check_range(told, where, named, limits)
    return told


def _check_range(told: Any, where: str, named: str, limits: Limits) -> None:
    if where in limits.ranges:
        low, high = limits.ranges[where]
        if not low <= told <= high:
            raise SpecError(f"{named}: {where} is {told}, but must be {low:g} to {high:g}.")
    if where in limits.choices and told not in limits.choices[where]:
        words = ", ".join(limits.choices[where])
        raise SpecError(f"{named}: {where} must be one of {words}.")


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
