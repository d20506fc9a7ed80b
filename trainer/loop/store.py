"""The run's object store: bytes under their digest, written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import archive, codec
from trainer.errors import InputError
from trainer.specialise import stored
from trainer.specialise.model import Scorer


class Store:
    """A folder of objects.

    Attributes:
        folder: where they lie.
        base: the folder of the base model that adapters go on; "" for none.
    """

    def __init__(self, folder: Path, base: str = "") -> None:
        self.folder, self.base = folder, base
        # A decoder that is loaded is worth keeping, and so is what it answered.
        self._loaded: dict[str, Scorer] = {}

    def put(self, data: bytes) -> str:
        """Keep bytes; their digest.

        Raises:
            InputError: they cannot be written; nothing is left half-written.
        """
        name = codec.digest(data)
        path = self._path(name)
        if path.exists():
            return name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    Path(file.name).unlink(missing_ok=True)
                    raise
            Path(file.name).replace(path)
        except OSError as error:
            full = " (the disk is full)" if error.errno == errno.ENOSPC else ""
            raise InputError(f"{path.parent} cannot be written: {error.strerror}{full}.") from error
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a digest.

        Raises:
            InputError: they are not there, or not what they were.
        """
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} is gone: {error.strerror}.") from error
        if codec.digest(data) != name:
            raise InputError(f"{path} was changed: it is not {name}.")
        return data

    def put_array(self, array: npt.NDArray[Any]) -> str:
        """Keep an array."""
        out = io.BytesIO()
        np.save(out, array, allow_pickle=False)
        return self.put(out.getvalue())

    def array(self, name: str) -> npt.NDArray[Any]:
        """An array that was kept."""
        found: npt.NDArray[Any] = np.load(io.BytesIO(self.get(name)), allow_pickle=False)
        return found

    def put_model(self, model: Scorer) -> str:
        """Keep a model."""
        return self.put(archive.pack(model.held()))

    def model(self, name: str) -> Scorer:
        """A model that was kept."""
        found = self._loaded.pop(name, None)
        if found is None:
            found = stored.model(archive.unpack(self.get(name)), self.base)
        # The last that was asked for and the one before: a candidate and what it is set beside.
        self._loaded = dict([*self._loaded.items(), (name, found)][-2:])
        return found

    def _path(self, name: str) -> Path:
        hexes = name.removeprefix("sha256:")
        return self.folder / hexes[:2] / hexes
