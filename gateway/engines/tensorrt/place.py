"""A model that is being opened: what operator and model say of it, which library and which GPU."""

from dataclasses import dataclass

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.cache import Cache
from gateway.engines.tensorrt.driver import Device, device
from gateway.engines.tensorrt.engine import Weights
from gateway.engines.tensorrt.flavour import Flavour, flavour
from gateway.engines.tensorrt.ladder import Ladder, ladder
from gateway.engines.tensorrt.plans import Graph, Recipe, recipe
from gateway.engines.tensorrt.reference import unpacked
from gateway.engines.tensorrt.settings import (
    ModelSays,
    Settings,
    model_says,
    settings,
    settings_of,
)


@dataclass(frozen=True)
class Opening:
    """A model that is being opened on a lane."""

    model: Model
    largest: Bucket
    rungs: Ladder
    says: ModelSays
    settings: Settings
    extra: Weights
    weights: Weights
    cache: Cache
    graph: Graph
    # What ONNX Runtime runs on the CPU, to compare with and to answer in TensorRT's place.
    cpu_graph: Graph

    @property
    def cpu(self) -> bool:
        """Whether ONNX Runtime on the CPU may answer: model and operator must both allow it."""
        return self.says.cpu and self.settings.cpu == "allowed"


@dataclass(frozen=True)
class Place:
    """A library and a GPU, and the recipe of the model's plan for them."""

    library: Flavour
    gpu: Device
    recipe: Recipe

    def about(self, captured: int, rungs: int) -> str:
        """What runs the model, for people."""
        how = (
            "CUDA graphs" if captured == rungs else f"CUDA graphs for {captured} of {rungs} shapes"
        )
        if not captured:
            how = "without CUDA graphs"
        return f"{self.library.name} {self.library.version} on {self.gpu.name}, {how}"


def prepare(model: Model, largest: Bucket) -> Opening:
    """Read what operator and model say.

    Raises:
        EngineError: the model has no graph, or a file cannot be used.

    """
    if model.graph is None:
        raise EngineError("engine tensorrt needs 'graph' in the contract")
    conf = settings() if model.options is None else settings_of(model.options)
    says = model_says(model.files)
    rungs = ladder(model.inputs, largest, conf.rows, conf.lengths)

    def arrays(name: str | None) -> Weights:
        return unpacked(model.files[name], name) if name else {}

    return Opening(
        model,
        rungs.largest,
        rungs,
        says,
        conf,
        arrays(says.adapter),
        arrays(says.refit),
        Cache(conf.cache),
        Graph.of(model.files, model.graph),
        Graph.of(model.files, says.reference or model.graph),
    )


def place_of(opening: Opening, lane: int) -> Place:
    """The library, and the GPU of a lane.

    Raises:
        Unavailable: one of them is not there.
        DeviceLost: the GPU was lost earlier.

    """
    conf = opening.settings
    library = flavour(conf.flavour)
    gpu = device(conf.devices[lane % len(conf.devices)], conf.wait)
    gpu.refuse_if_lost()
    made = recipe(
        opening.model,
        opening.graph,
        opening.rungs,
        opening.says,
        conf,
        library.name,
        library.version,
        gpu.capability,
        gpu.driver,
    )
    return Place(library, gpu, made)
