"""The data plane as governance sees it, over the serving process's control socket."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from gateway.control import source
from governance.service.plane import PlaneError, Served, Wishes

T = TypeVar("T")


class ControlSocket:
    """Asks and commands the serving process at a control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def status(self) -> Sequence[Served]:
        """Every version that is loaded. Raises PlaneError, as all methods do."""
        told = json.loads(self._asked(lambda: source.ask(self._path, "/status")))
        return [
            Served(m["name"], int(m["version"]), m["digest"], m["current"])
            for m in told["models"]
            if "digest" in m
        ]

    def shadows(self) -> Mapping[str, Mapping[str, Any]]:
        """How shadows fare, and what they found since the last question."""
        return self._asked(lambda: source.shadows(self._path))

    def shadow(self, model: str, version: int, wishes: Wishes) -> None:
        """Begin a shadow."""
        self._command("shadow", model=model, version=version, wishes=wishes.plain())

    def end_shadow(self, model: str) -> None:
        """End a shadow."""
        self._command("end_shadow", model=model)

    def canary(self, model: str, version: int, share: float, salt: bytes, wishes: Wishes) -> None:
        """Let a version answer a share of the callers."""
        told = {"model": model, "version": version, "share": share, "salt": salt.hex()}
        self._command("canary", **told, wishes=wishes.plain())

    def end_canary(self, model: str) -> None:
        """End a canary."""
        self._command("end_canary", model=model)

    def swap(self, model: str, version: int) -> None:
        """Let a version answer."""
        self._command("swap", model=model, version=version)

    def unload(self, model: str) -> None:
        """Let nothing answer for a model."""
        self._command("unload", model=model)

    def _command(self, do: str, **fields: Any) -> None:
        self._asked(lambda: source.command(self._path, do, **fields))

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except source.RefusedError as error:
            raise PlaneError("plane_refused", f"the gateway refused: {error}") from error
        except (OSError, ValueError) as error:
            raise PlaneError("plane_away", f"no gateway at {self._path}: {error}") from error
