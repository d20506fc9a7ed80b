"""The decision log's files: read, and made to forget requests (docs/decisions.md).

Needs pyarrow, which the gateway itself does without.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("decisions", "feedback", "shadow")


class DecisionLogError(Exception):
    """The log cannot be read or changed; the message says why."""


def _arrow() -> Any:
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.compute  # noqa: PLC0415
        import pyarrow.ipc  # noqa: PLC0415
    except ImportError as error:
        raise DecisionLogError("pyarrow is needed: pip install 'sluicegate[decisions]'") from error
    return pyarrow


@dataclass(frozen=True)
class Kept:
    """What a folder holds of one kind.

    Attributes:
        files, partial: whole files, and those that are still being written.
        rows: in the whole files.
        size: of the whole files, in bytes.
        models: rows by model and digest.
        keys: ids of the keys that inputs were hashed under.
    """

    files: int = 0
    partial: int = 0
    rows: int = 0
    size: int = 0
    models: dict[str, int] = field(default_factory=dict)
    keys: tuple[str, ...] = ()


def show(folder: Path) -> dict[str, Kept]:
    """What is there, by kind.

    Raises:
        DecisionLogError: there is no such folder, or a whole file is not Arrow.
    """
    return {kind: _show(folder, kind) for kind in KINDS}


def _show(folder: Path, kind: str) -> Kept:
    models: dict[str, int] = {}
    keys: set[str] = set()
    rows = size = files = 0
    for path in _whole(folder, kind):
        table = _read(path)
        told = _told(table)
        files, rows, size = files + 1, rows + table.num_rows, size + path.stat().st_size
        if "model" in told:
            name = f"{told['model']} {told['digest']}"
            models[name] = models.get(name, 0) + table.num_rows
        if "key" in told:
            keys.add(told["key"])
    partial = len(list(folder.glob(f"{kind}-*.arrow.partial")))
    return Kept(files, partial, rows, size, models, tuple(sorted(keys)))


def rows(folder: Path, kind: str, model: str = "") -> Iterator[dict[str, Any]]:
    """Every row of one kind, of one model if it is named.

    Raises:
        DecisionLogError: as `show`.
    """
    for path in _whole(folder, kind):
        table = _read(path)
        if not model or _told(table).get("model") == model:
            yield from table.to_pylist()


def key_hash(key: bytes, what: str, value: bytes) -> bytes:
    """The log's hash of a value: HMAC-SHA-256 of `what`, a zero byte and the value."""
    return hmac.new(key, what.encode() + b"\0" + value, hashlib.sha256).digest()


def forget(
    folder: Path,
    ids: Collection[str] = (),
    keys: Sequence[str] = (),
    hashed_under: bytes | None = None,
) -> dict[str, int]:
    """Takes requests out of every whole file; each file changes at once or not at all.

    Args:
        folder: the log's.
        ids: request ids to forget.
        keys: callers' keys (the request parameter `key`): their requests are forgotten, and what
            was reported of them.
        hashed_under: the key that these were hashed under.

    Returns:
        Rows taken out, by kind.

    Raises:
        DecisionLogError: as `show`; or keys without `hashed_under`.
    """
    if keys and hashed_under is None:
        raise DecisionLogError("callers' keys are hashed in the log: the key file is needed.")
    wanted = set(ids)
    if hashed_under is not None:
        hashes = {key_hash(hashed_under, "key", key.encode()) for key in keys}
        for path in _whole(folder, "decisions"):
            table = _read(path)
            if "key_hmac" in table.column_names:
                pairs = zip(table["request_id"], table["key_hmac"], strict=True)
                wanted |= {i.as_py() for i, told in pairs if told.as_py() in hashes}
    if not wanted:
        return dict.fromkeys(KINDS, 0)
    for left in folder.glob(".*.forgetting"):
        left.unlink()
    # Decisions last: a run that was cut short still finds, by its key, what is left.
    order = ("feedback", "shadow", "decisions")
    return {kind: sum(_forget(p, wanted) for p in _whole(folder, kind)) for kind in order}


def _forget(path: Path, wanted: Collection[str]) -> int:
    pa = _arrow()
    table = _read(path)
    gone = pa.compute.is_in(table["request_id"], value_set=pa.array(sorted(wanted), pa.string()))
    kept = table.filter(pa.compute.invert(gone))
    lost: int = table.num_rows - kept.num_rows
    if lost == 0:
        return 0
    if kept.num_rows == 0:
        path.unlink()
        return lost
    aside = path.with_name(f".{path.name}.forgetting")
    modified = path.stat()
    with pa.OSFile(str(aside), "wb") as out, pa.ipc.new_file(out, table.schema) as file:
        file.write_table(kept.combine_chunks().unify_dictionaries())
    # Its age decides when it is deleted.
    os.utime(aside, ns=(modified.st_atime_ns, modified.st_mtime_ns))
    aside.replace(path)
    return lost


def _whole(folder: Path, kind: str) -> Iterator[Path]:
    if not folder.is_dir():
        raise DecisionLogError(f"{folder} is no folder.")
    yield from sorted(folder.glob(f"{kind}-*.arrow"))


def _read(path: Path) -> Any:
    pa = _arrow()
    try:
        with pa.OSFile(str(path)) as opened, pa.ipc.open_file(opened) as file:
            return file.read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise DecisionLogError(f"{path}: {error}") from error


def _told(table: Any) -> dict[str, str]:
    said = table.schema.metadata or {}
    prefix = b"sluicegate."
    return {
        k.removeprefix(prefix).decode(): v.decode() for k, v in said.items() if k.startswith(prefix)
    }
