"""Labelled cases of a specialist, whatever its input: rows of numbers, or texts.

A case has an id, its features or its text, what is right, and the slices that it belongs to. For
bid shading `y` is the price that had to be beaten and `value` what winning was worth; everywhere
else `y` is 1 for the class to be caught, 0 for the other, and `value` is 1. A section of a note has
what is to be said of its dialogue, too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from trainer import archive, codec
from trainer.errors import InputError

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """n cases.

    Attributes:
        ids: n different names.
        x: float32 [n, f]; f is 0 for texts.
        texts: n texts, or none for rows of numbers.
        y: float64 [n].
        value: float64 [n].
        names: the f features' names.
        slices: for each slice's name n values.
        said: for each text what a decoder has to say of it, or none; see `trainer.notes.sections`.
    """

    ids: tuple[str, ...]
    x: Matrix
    texts: tuple[str, ...]
    y: Floats
    value: Floats
    names: tuple[str, ...] = ()
    slices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    said: tuple[str, ...] = field(default=(), metadata=codec.LATER)

    def __post_init__(self) -> None:
        n = len(self.ids)
        lengths = {len(self.x), len(self.y), len(self.value), n}
        lengths |= {len(told) for told in (self.texts, self.said) if told}
        lengths |= {len(values) for values in self.slices.values()}
        if lengths != {n} or self.x.ndim != 2 or self.x.shape[1] != len(self.names):
            raise InputError("The parts of a set of cases have different lengths.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def digest(self) -> str:
        """Of everything that a case is."""
        return codec.digest(self)

    def take(self, rows: Index | Sequence[int]) -> Examples:
        """The cases of these row numbers, in that order."""
        index = np.asarray(rows, np.int64)
        return replace(
            self,
            ids=tuple(self.ids[row] for row in index),
            x=np.ascontiguousarray(self.x[index]),
            texts=tuple(self.texts[row] for row in index) if self.texts else (),
            y=self.y[index],
            value=self.value[index],
            slices={k: tuple(v[row] for row in index) for k, v in self.slices.items()},
            said=tuple(self.said[row] for row in index) if self.said else (),
        )

    def input_keys(self) -> list[bytes]:
        """For each case what it is to a model: equal keys are equal inputs."""
        if self.texts:
            return [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in self.texts]
        return [row.tobytes() for row in np.ascontiguousarray(self.x)]

    def to_bytes(self) -> bytes:
        """As one archive of plain arrays, without pickles."""
        held: dict[str, npt.NDArray[np.generic]] = {
            "ids": _text(self.ids),
            "x": self.x,
            "texts": _text(self.texts),
            "y": self.y,
            "value": self.value,
            "names": _text(self.names),
            "slice_names": _text(tuple(self.slices)),
        }
        held |= {f"slice_{i}": _text(v) for i, v in enumerate(self.slices.values())}
        held |= {"said": _text(self.said)} if self.said else {}
        return archive.pack(held)

    @classmethod
    def from_bytes(cls, data: bytes) -> Examples:
        """What `to_bytes` wrote.

        Raises:
            InputError: it is nothing of that kind.
        """
        try:
            held = archive.unpack(data)
            names = _words(held["slice_names"])
            return cls(
                ids=_words(held["ids"]),
                x=held["x"],
                texts=_words(held["texts"]),
                y=held["y"],
                value=held["value"],
                names=_words(held["names"]),
                slices={name: _words(held[f"slice_{i}"]) for i, name in enumerate(names)},
                said=_words(held["said"]) if "said" in held else (),
            )
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise InputError(f"A set of cases cannot be read ({error}).") from error


# Each text with its length before it: numpy's own strings lose zero characters at their end.
def _text(words: Sequence[str]) -> npt.NDArray[np.uint8]:
    parts = [word.encode("utf-8", "surrogatepass") for word in words]
    return np.frombuffer(b"".join(len(p).to_bytes(4, "little") + p for p in parts), np.uint8)


def _words(held: npt.NDArray[np.generic]) -> tuple[str, ...]:
    data, at, found = held.tobytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        found.append(data[at + 4 : at + 4 + size].decode("utf-8", "surrogatepass"))
        at += 4 + size
    return tuple(found)


def of_rows(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    names: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    value: npt.ArrayLike | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
) -> Examples:
    """Cases from a table: x [n, f], y [n]; ids are row numbers unless given."""
    labels = np.asarray(y, np.float64)
    return Examples(
        ids=tuple(ids) if ids is not None else tuple(str(i) for i in range(len(labels))),
        x=np.ascontiguousarray(x, np.float32),
        texts=(),
        y=labels,
        value=np.ones(len(labels)) if value is None else np.asarray(value, np.float64),
        names=tuple(names),
        slices={k: tuple(v) for k, v in (slices or {}).items()},
    )


def of_texts(
    texts: Sequence[str],
    y: npt.ArrayLike,
    *,
    ids: Sequence[str] | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
    said: Sequence[str] = (),
) -> Examples:
    """Cases from n texts and y [n]."""
    labels = np.asarray(y, np.float64)
    return Examples(
        ids=tuple(ids) if ids is not None else tuple(str(i) for i in range(len(labels))),
        x=np.zeros((len(labels), 0), np.float32),
        texts=tuple(texts),
        y=labels,
        value=np.ones(len(labels)),
        slices={k: tuple(v) for k, v in (slices or {}).items()},
        said=tuple(said),
    )


def joined(one: Examples, other: Examples) -> Examples:
    """The cases of both, which have the same features and slices."""
    empty = np.zeros((len(one) + len(other), 0), np.float32)
    return Examples(
        ids=(*one.ids, *other.ids),
        x=np.concatenate([one.x, other.x]) if one.names else empty,
        texts=(*one.texts, *other.texts),
        y=np.concatenate([one.y, other.y]),
        value=np.concatenate([one.value, other.value]),
        names=one.names,
        slices={k: (*v, *other.slices[k]) for k, v in one.slices.items()},
        said=(*one.said, *other.said),
    )
