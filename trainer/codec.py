"""Typed values as JSON and back, and the digest of any value that a phase takes or gives.

Frozen dataclasses of text, whole and floating-point numbers, truth values, None, tuples and
mappings with text keys. Numbers keep all their digits, so a value that is read again is equal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")
# Metadata of a field that came after digests were made: empty, it counts for nothing.
LATER: Mapping[str, bool] = types.MappingProxyType({"later": True})


def to_plain(value: object) -> Any:
    """A value as what `json` writes.

    Raises:
        TypeError: it holds something else than the types above.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def to_json(value: object) -> str:
    """A value as JSON of one spelling."""
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_json(kind: type[T], text: str) -> T:
    """The value of a type that `to_json` wrote.

    Raises:
        TypeError, KeyError, ValueError: the text is not of that type.
    """
    found: T = from_plain(kind, json.loads(text))
    return found


def from_plain(kind: Any, value: Any) -> Any:  # noqa: PLR0911 - one return a kind of value
    """The value of a type from what `json` reads. Raises as `from_json`."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise TypeError(f"{kind} is an object")
        hints = _hints(kind)
        known = {f.name for f in dataclasses.fields(kind)}
        return kind(**{k: from_plain(hints[k], v) for k, v in value.items() if k in known})
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return from_plain(next(one for one in inner if one is not type(None)), value)
    if origin is tuple:
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(from_plain(inner[0], item) for item in value)
        return tuple(from_plain(one, item) for one, item in zip(inner, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: from_plain(inner[1], item) for key, item in value.items()}
    if kind is float:
        return float(value)
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def digest(*values: object) -> str:
    """`sha256:` and the SHA-256 of values; arrays count by type, shape and bytes.

    Raises:
        TypeError: a value is of no type that has a digest.
    """
    told = hashlib.sha256()
    for value in values:
        _feed(told, value)
    return "sha256:" + told.hexdigest()


def _feed(told: Any, value: object) -> None:
    if isinstance(value, np.ndarray):
        whole = np.ascontiguousarray(value)
        told.update(f"array {whole.dtype.str} {whole.shape};".encode())
        told.update(whole.tobytes())
    elif isinstance(value, bytes):
        told.update(b"bytes %d;" % len(value))
        told.update(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        told.update(f"{type(value).__name__}{{".encode())
        for f in dataclasses.fields(value):
            held = getattr(value, f.name)
            if not f.metadata.get("later") or held:
                told.update(f"{f.name}=".encode())
                _feed(told, held)
        told.update(b"};")
    elif isinstance(value, Mapping):
        told.update(b"map{")
        for key in sorted(value):
            _feed(told, key)
            _feed(told, value[key])
        told.update(b"};")
    elif isinstance(value, tuple | list):
        told.update(b"list[")
        for item in value:
            _feed(told, item)
        told.update(b"];")
    elif value is None or isinstance(value, str | bool | int | float):
        text = f"{type(value).__name__} {value!r};".encode()
        told.update(b"%d:" % len(text) + text)
    else:
        raise TypeError(f"{type(value).__name__} has no digest")
