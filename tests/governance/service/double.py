"""A data plane for tests: it outlives the service, as a gateway does, in a file of its own."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from governance.service.plane import PlaneError, Served, Wishes
from governance.service.repository import digest_of


class FileDataPlane:
    """Serves versions of a repository by name; what it serves is in a JSON file.

    `away` and `refuses` make it fail; `tell` gives it something to find.
    """

    def __init__(self, file: Path, repository: Path) -> None:
        self._file, self._repository = file, repository
        self.away = self.refuses = False
        self.swaps = 0

    def state(self) -> dict[str, Any]:
        if not self._file.exists():
            return {"live": {}, "shadows": {}}
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    def _keep(self, state: dict[str, Any]) -> None:
        # At once or not at all: a gateway does not forget what it serves when another is killed.
        aside = self._file.with_suffix(".new")
        aside.write_text(json.dumps(state))
        aside.replace(self._file)

    def _answer(self) -> None:
        if self.away:
            raise PlaneError("plane_away", "no gateway")

    def _digest(self, model: str, version: int) -> str:
        return digest_of(self._repository / model / str(version))

    def status(self) -> Sequence[Served]:
        self._answer()
        return [
            Served(model, version, self._digest(model, version), True)
            for model, version in self.state()["live"].items()
        ]

    def shadows(self) -> Mapping[str, Mapping[str, Any]]:
        self._answer()
        state = self.state()
        told = {model: dict(shadow) for model, shadow in state["shadows"].items()}
        for shadow in state["shadows"].values():
            shadow["found"] = {"closed": [], "ends": [], "lost": shadow["found"]["lost"]}
        self._keep(state)
        return told

    def shadow(self, model: str, version: int, wishes: Wishes) -> None:
        self._answer()
        if self.refuses:
            raise PlaneError("plane_refused", "the two cannot be compared")
        state = self.state()
        found: dict[str, Any] = {"closed": [], "ends": [], "lost": 0}
        state["shadows"][model] = {"run": wishes.run, "found": found, "version": version}
        self._keep(state)

    def end_shadow(self, model: str) -> None:
        self._answer()
        state = self.state()
        if state["shadows"].pop(model, None) is None:
            raise PlaneError("plane_refused", "no shadow")
        self._keep(state)

    def canary(self, model: str, version: int, share: float, salt: bytes, wishes: Wishes) -> None:
        self.shadow(model, version, wishes)
        state = self.state()
        state["shadows"][model]["callers"] = share
        self._keep(state)

    def end_canary(self, model: str) -> None:
        self.end_shadow(model)

    def swap(self, model: str, version: int) -> None:
        self._answer()
        if self.refuses:
            raise PlaneError("plane_refused", "it does not load")
        state = self.state()
        state["live"][model] = version
        # As the real one: another answers now, so the comparison is over.
        state["shadows"].pop(model, None)
        self._keep(state)
        self.swaps += 1

    def unload(self, model: str) -> None:
        self._answer()
        if self.refuses:
            raise PlaneError("plane_refused", "it does not unload")
        state = self.state()
        state["live"].pop(model, None)
        state["shadows"].pop(model, None)
        self._keep(state)

    def forget_shadow(self, model: str) -> None:
        """As after a restart."""
        state = self.state()
        state["shadows"].pop(model, None)
        self._keep(state)

    def tell(
        self,
        model: str,
        blocks: Sequence[tuple[int, Mapping[str, Any]]],
        lost: int = 0,
        outcomes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Blocks with one request each, how its pair ended, and outcomes that were reported."""
        state = self.state()
        found = state["shadows"][model]["found"]
        for block, end in blocks:
            found["closed"].append({"block": block, "requests": 1, "pair": 0})
            if end:
                found["ends"].append({"block": block, "sequence": 0, "hash": 0, **end})
        found["lost"] += lost
        found["outcomes"] = [*found.get("outcomes", []), *outcomes]
        self._keep(state)


def complete(**changes: Any) -> dict[str, Any]:
    """An end in which both agree."""
    told = {
        "end": "complete",
        "caller": "bidder",
        "segment": None,
        "incumbent": True,
        "candidate": True,
        "moved": False,
        "incumbent_ns": 100_000,
        "candidate_ns": 100_000,
        "incumbent_score": 0.75,
        "candidate_score": 0.75,
        "rows": 1,
        "length": 1,
    }
    return told | changes
