"""What a plan depends on, and what a builder is told."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from gateway.engines.contract import Model
from gateway.engines.tensorrt.ladder import Ladder, Profile, profiles
from gateway.engines.tensorrt.settings import ModelSays, Settings

FORMAT = "sluicegate.plan/1"


@dataclass(frozen=True)
class Recipe:
    """All that a plan's bytes depend on.

    `driver` is empty for tensorrt_rtx: its plans are made without one, and what is compiled for a
    driver is kept apart.
    """

    graph: str
    flavour: str
    version: str
    compute_capability: str
    driver: str
    profiles: list[Profile]
    tf32: bool = False
    refit: bool = False
    workspace_mib: int = 1024
    optimization_level: int = 3

    def about(self) -> dict[str, Any]:
        """For the cache."""
        return {"format": FORMAT, **asdict(self)}

    def timing(self) -> dict[str, Any]:
        """What the timing cache of such builds depends on."""
        same = ("flavour", "version", "compute_capability", "driver")
        return {"format": "sluicegate.timing/1"} | {key: getattr(self, key) for key in same}

    def kernels(self, driver: str) -> dict[str, Any]:
        """What kernels that were compiled on the user's machine depend on."""
        return {"format": "sluicegate.kernels/1", "plan": self.about(), "driver": driver}


def graph_digest(model: Model) -> str:
    """SHA-256 of the graph's verified bytes."""
    return hashlib.sha256(model.files[model.graph or ""]).hexdigest()


def recipe(
    model: Model,
    ladder: Ladder,
    says: ModelSays,
    settings: Settings,
    flavour: str,
    version: str,
    capability: str,
    driver: str,
) -> Recipe:
    """The recipe of a model's plan for one kind of GPU."""
    rtx = flavour == "tensorrt_rtx"
    return Recipe(
        graph=graph_digest(model),
        flavour=flavour,
        version=version,
        compute_capability=capability,
        driver="" if rtx else driver,
        profiles=profiles(model.inputs, ladder, one=rtx),
        tf32=says.tf32,
        refit=says.refit is not None,
        workspace_mib=settings.workspace_mib,
        # tensorrt_rtx leaves tuning to the compilation on the user's machine.
        optimization_level=0 if rtx else settings.optimization_level,
    )
