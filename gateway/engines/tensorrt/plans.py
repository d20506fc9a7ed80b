"""What a plan depends on, and what a builder is told."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.engines.contract import Model
from gateway.engines.tensorrt.cache import key_of
from gateway.engines.tensorrt.external import external_files
from gateway.engines.tensorrt.ladder import Ladder, Profile, profiles
from gateway.engines.tensorrt.settings import ModelSays, Settings

FORMAT = "sluicegate.plan/1"
# Counts changes of how graphs are written out for the parser (lowering/): plans depend on it.
LOWERING = 1


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
    # Those that the contract promises.
    outputs: list[str] = field(default_factory=list)
    lowering: int = LOWERING

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


@dataclass(frozen=True)
class Graph:
    """A graph's bytes, and the files that it keeps weights in."""

    data: bytes
    beside: Mapping[str, bytes]

    @staticmethod
    def of(files: Mapping[str, bytes], name: str) -> "Graph":
        """A graph of a model directory.

        Raises:
            EngineError: it keeps weights in a file that the model has not.

        """
        data = files[name]
        return Graph(data, {each: files[each] for each in external_files(data, files)})

    @property
    def digest(self) -> str:
        """SHA-256 of its bytes; with files beside it, of all digests by name."""
        own = hashlib.sha256(self.data).hexdigest()
        if not self.beside:
            return own
        told = {name: hashlib.sha256(data).hexdigest() for name, data in self.beside.items()}
        return key_of({"graph": own, "beside": told})

    def write(self, folder: Path) -> Path:
        """Put it into an empty folder; the path of the graph."""
        for name, data in self.beside.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        path = folder / "served.onnx"
        path.write_bytes(self.data)
        return path


def recipe(
    model: Model,
    graph: Graph,
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
        graph=graph.digest,
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
        outputs=[tensor.name for tensor in model.outputs],
    )
