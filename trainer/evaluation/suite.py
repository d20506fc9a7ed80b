"""Suites: versioned files of cases, each of one of four kinds, so that no easy trick passes.

A true positive has to be found and a true negative to be let through; a false-positive guard looks
bad and is good, a false-negative guard looks good and is bad, by the word of a plain model that
learnt from the training rows alone. Each kind is at least 5% of a suite, or it is refused: a model
that flags everything, or nothing, or what a plain model would, cannot pass.

A bid is a true positive where winning pays, a true negative where it cannot; the guards are the
cases that a constant factor gets wrong. A note's section is a true positive if its header is one of
those that must not be missed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import codec
from trainer.errors import InputError
from trainer.examples import Examples, Floats

FORMAT = "sluicegate.suite/1"
KINDS = ("true_positive", "true_negative", "false_positive_guard", "false_negative_guard")
LEAST_SHARE = 0.05
LEAST_CASES = 100
# Of each class, the share that looks most like the other one.
GUARD_SHARE = 0.25


@dataclass(frozen=True)
class Suite:
    """Cases with their kinds.

    Attributes:
        name: "core" or "held_out".
        version: counts how often it was drawn anew.
        kinds: for each case one of `KINDS`.
    """

    name: str
    version: int
    examples: Examples
    kinds: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of every case with its kind."""
        return codec.digest(FORMAT, self.name, self.version, self.examples, self.kinds)

    @property
    def balance(self) -> Mapping[str, int]:
        """How many cases of each kind."""
        return {kind: self.kinds.count(kind) for kind in KINDS}


def draw(
    name: str, version: int, examples: Examples, plain: Floats, cases: int, seed: int
) -> Suite:
    """A suite of at most so many of the cases.

    The rarer class keeps up to two fifths of the places, so that a rare positive is there often
    enough; shares of classes in a suite are no prevalence.

    Args:
        name, version: of the suite.
        examples: n cases.
        plain: float64 [n], a plain model's scores: higher looks more positive.
        cases: at most.
        seed: of the draw; the version counts too.

    Raises:
        InputError: a kind has less than 5% of the cases, or there are too few in all.
    """
    random = np.random.default_rng([seed, version, 0 if name == "core" else 1])
    positive = is_positive(examples)
    kept = _kept(positive, cases, random)
    examples, plain, positive = examples.take(kept), plain[kept], positive[kept]
    kinds = np.where(positive, KINDS[0], KINDS[1]).astype(object)
    for label, guard, sign in ((True, KINDS[3], 1), (False, KINDS[2], -1)):
        rows = np.flatnonzero(positive == label)
        count = max(round(GUARD_SHARE * len(rows)), int(np.ceil(LEAST_SHARE * len(positive))))
        hardest = rows[np.argsort(sign * plain[rows], kind="stable")][:count]
        kinds[hardest] = guard
    suite = Suite(name, version, examples, tuple(str(kind) for kind in kinds))
    check(suite)
    return suite


def is_positive(examples: Examples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """bool [n]: the class to be caught; for prices, those well under the value."""
    if set(np.unique(examples.y)) <= {0.0, 1.0}:
        return np.asarray(examples.y == 1)
    return np.asarray(examples.y <= np.median(examples.y))


def check(suite: Suite) -> None:
    """Refuse a suite that a trick could pass.

    Raises:
        InputError: too few cases, or a kind has less than 5% of them.
    """
    n = len(suite.kinds)
    if n < LEAST_CASES:
        raise InputError(
            f"The {suite.name} suite has {n} cases, but {LEAST_CASES} are the fewest that decide "
            "anything."
        )
    for kind, count in suite.balance.items():
        if count < LEAST_SHARE * n:
            raise InputError(
                f"The {suite.name} suite has {count} of {n} cases of the kind {kind}, but each "
                "kind must be at least 5%."
            )


def _kept(
    positive: np.ndarray[tuple[int], np.dtype[np.bool_]], cases: int, random: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    if len(positive) <= cases:
        return np.arange(len(positive), dtype=np.int64)
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    rarer, other = sorted((yes, no), key=len)
    share = max(len(rarer) / len(positive), 0.4)
    take = min(len(rarer), round(share * cases))
    drawn = [random.permutation(rarer)[:take], random.permutation(other)[: cases - take]]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def to_bytes(suite: Suite) -> bytes:
    """The suite's file: JSON lines, packed; the first line says what it is."""
    one = suite.examples
    head = {
        "format": FORMAT,
        "name": suite.name,
        "version": suite.version,
        "features": list(one.names),
        "slices": list(one.slices),
    }
    lines = [json.dumps(head, sort_keys=True)]
    for row, (name, kind) in enumerate(zip(one.ids, suite.kinds, strict=True)):
        case: dict[str, object] = {"id": name, "kind": kind, "y": float(one.y[row])}
        if one.value[row] != 1:
            case["value"] = float(one.value[row])
        case |= {"text": one.texts[row]} if one.texts else {"x": one.x[row].tolist()}
        case |= {"said": one.said[row]} if one.said else {}
        case |= {"slices": {k: v[row] for k, v in one.slices.items()}} if one.slices else {}
        lines.append(json.dumps(case, sort_keys=True))
    # Without a time, so that the same suite is the same file.
    return gzip.compress(("\n".join(lines) + "\n").encode("utf-8"), mtime=0)


def from_bytes(data: bytes, named: str) -> Suite:
    """What `to_bytes` wrote, or what people wrote in the same form.

    Raises:
        InputError: it has another form; the message says in which line.
    """
    try:
        lines = gzip.decompress(data).decode("utf-8").splitlines()
        head = json.loads(lines[0])
        cases = [json.loads(line) for line in lines[1:]]
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}, not {FORMAT!r}")
        text = bool(cases) and "text" in cases[0]
        n, names = len(cases), tuple(head["features"])
        x = np.zeros((n, 0)) if text else np.array([c["x"] for c in cases])
        found = Suite(
            name=head["name"],
            version=int(head["version"]),
            examples=Examples(
                ids=tuple(c["id"] for c in cases),
                x=np.ascontiguousarray(x, np.float32),
                texts=tuple(c["text"] for c in cases) if text else (),
                y=np.array([c["y"] for c in cases], np.float64),
                value=np.array([c.get("value", 1.0) for c in cases], np.float64),
                names=names,
                slices={k: tuple(c["slices"][k] for c in cases) for k in head["slices"]},
                said=tuple(c["said"] for c in cases if "said" in c),
            ),
            kinds=tuple(c["kind"] for c in cases),
        )
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{named} is no suite ({type(error).__name__}: {error}).") from error
    check(found)
    return found


def read(path: Path) -> Suite:
    """A suite's file. Raises InputError."""
    try:
        return from_bytes(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
