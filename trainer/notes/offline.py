"""An adapter's directory: complete, under its digest, and of an engine that no gateway has."""

from __future__ import annotations

from pathlib import Path

from gateway.engines.registry import OFFLINE
from gateway.packing import CONTRACT, Packed, PackError, pack_files
from trainer import codec
from trainer.errors import InputError
from trainer.notes.adapter import Adapter

# `sluicegate candidate submit` and the gateway refuse it.
ENGINE = OFFLINE
ABOUT = "adapter.json"
LIMIT = "Judged offline: no gateway serves an adapter yet."
_CONTRACT = f"""\
format = "sluicegate.contract/1"
engine = "{ENGINE}"

[[inputs]]
name = "dialogue"
datatype = "BYTES"
shape = [-1, 1]
max_bytes = 65536

[[outputs]]
name = "section"
datatype = "BYTES"
shape = [-1, 1]
max_bytes = 65536
"""


def pack(adapter: Adapter, name: str, repository: Path) -> Packed:
    """REPOSITORY/NAME/N/: the adapter in peft's form, what it goes on, and a contract.

    Raises:
        InputError: it cannot be written.
    """
    about = codec.to_json(adapter.about) + "\n"
    files = {**adapter.files, ABOUT: about.encode(), CONTRACT: _CONTRACT.encode()}
    try:
        repository.mkdir(parents=True, exist_ok=True)
        return pack_files(files, name, repository)
    except (PackError, OSError) as error:
        raise InputError(f"The candidate cannot be packed: {error}.") from error
