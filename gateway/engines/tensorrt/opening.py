"""How a lane is opened: which library and GPU, which plan, and who answers until it is there."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Any

import numpy as np

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.building import build, reference
from gateway.engines.tensorrt.cache import Cache, key_of
from gateway.engines.tensorrt.cpu import CpuRunner
from gateway.engines.tensorrt.driver import Device, device
from gateway.engines.tensorrt.engine import Engine, Weights, shared
from gateway.engines.tensorrt.flavour import Flavour, flavour
from gateway.engines.tensorrt.host import HostArrays, plain
from gateway.engines.tensorrt.ladder import Ladder, ladder
from gateway.engines.tensorrt.lane import TensorRTLane, event
from gateway.engines.tensorrt.memory import Memory
from gateway.engines.tensorrt.plans import Graph, Recipe, recipe
from gateway.engines.tensorrt.reference import checked_buckets, distance, unpacked
from gateway.engines.tensorrt.runner import DeviceRunner
from gateway.engines.tensorrt.settings import ModelSays, Settings, model_says, settings


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
    conf, says = settings(), model_says(model.files)
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


def open_lane(model: Model, largest: Bucket, lane: int) -> TensorRTLane:
    """Open a model on a GPU; on the CPU where the model allows it and there is no other way.

    Raises:
        EngineError: a sentence that says what is missing.
        DeviceLost: the GPU was lost earlier.

    """
    opening = prepare(model, largest)
    try:
        place = _place(opening, lane)
        plan = stored_plan(opening, place)
        if plan is None and not opening.says.cpu:
            refuse_build(opening)
            plan = _built(opening, place).result()
        if plan is not None:
            return _on_gpu(opening, place, plan)
        refuse_build(opening)
    except EngineError as error:
        if not opening.says.cpu:
            raise
        event("engine_on_cpu", reason=str(error))
        return _on_cpu(opening, plain, f"TensorRT is not used: {error}")
    return _until_built(opening, place)


def _place(opening: Opening, lane: int) -> Place:
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


def stored_plan(opening: Opening, place: Place) -> bytes | None:
    """A plan that may be read: listed in the model's manifest, or built by this gateway."""
    wanted = place.recipe
    for shipped in opening.says.plans:
        same = (shipped.flavour, shipped.version, shipped.compute_capability)
        if same == (wanted.flavour, wanted.version, wanted.compute_capability):
            return opening.model.files[shipped.file]
    return opening.cache.get("plan", wanted.about())


def refuse_build(opening: Opening) -> None:
    """Raise if this server may not build plans."""
    if opening.settings.build == "never":
        raise EngineError(
            "there is no plan for this GPU, driver and version, and this server builds none "
            '(build = "never"): run sluicegate engines build'
        )


_BUILDS: dict[str, "Future[bytes]"] = {}
_BUILDING = Lock()


def _built(opening: Opening, place: Place) -> "Future[bytes]":
    """The plan, being built: once a recipe, however many lanes ask."""
    key = key_of(place.recipe.about())

    def work(future: "Future[bytes]") -> None:
        try:
            made = build(
                opening.cache,
                place.recipe,
                opening.graph,
                opening.settings.build_seconds,
                beside_traffic=True,
            )
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(made)
        finally:
            with _BUILDING:
                _BUILDS.pop(key, None)

    with _BUILDING:
        if key not in _BUILDS:
            future: Future[bytes] = Future()
            _BUILDS[key] = future
            Thread(target=work, args=(future,), name="plan", daemon=True).start()
        return _BUILDS[key]


def _runner(opening: Opening, place: Place, engine: Engine, host: HostArrays) -> DeviceRunner:
    about = place.recipe.kernels(place.gpu.driver)
    kernels = opening.cache.get("kernels", about) if place.library.is_rtx else None
    conf = opening.settings
    runner = DeviceRunner(
        engine, opening.model, host, opening.extra, conf.wait, conf.cuda_graphs, kernels
    )
    if place.library.is_rtx and (made := runner.kernels()) and made != kernels:
        opening.cache.put("kernels", about, made)
    return runner


def _engine(opening: Opening, place: Place, plan: bytes) -> Engine:
    engine = shared(place.library, place.gpu, plan, opening.weights)
    model = opening.model
    engine.refuse_other_tensors(model.inputs, model.outputs, opening.extra)
    return engine


def _on_gpu(opening: Opening, place: Place, plan: bytes) -> TensorRTLane:
    engine = _engine(opening, place, plan)
    refuse_wrong_numbers(opening, place, engine)
    memory = Memory(place.gpu)
    try:
        host = HostArrays(opening.model, opening.rungs, memory.pinned)
        runner = _runner(opening, place, engine, host)
    except BaseException:
        memory.close()
        raise
    about = place.about(runner.captured, len(opening.rungs.rungs))
    lane = TensorRTLane(host, runner, about)
    lane.when_closed(memory.close)
    return lane


def refuse_wrong_numbers(opening: Opening, place: Place, engine: Engine) -> None:
    """Compare seeded rows with ONNX Runtime's outputs on the CPU.

    Raises:
        EngineError: an output is further away than the model allows.

    """
    model, says = opening.model, opening.says
    conf = opening.settings
    given, expected = reference(
        opening.cache,
        model,
        opening.cpu_graph,
        opening.largest,
        opening.extra,
        opening.weights,
        conf.build_seconds,
    )
    buckets = checked_buckets(opening.largest)
    rungs = [opening.rungs.rung_for(bucket) for bucket in buckets]
    memory = Memory(place.gpu)
    runner = None
    try:
        # Apart from the lane's own arrays: it may be answering already.
        own = Ladder(
            tuple(sorted({rung.rows for rung in rungs})),
            tuple(sorted({rung.length for rung in rungs})),
        )
        host = HostArrays(model, own, memory.pinned)
        runner = DeviceRunner(
            engine,
            model,
            host,
            opening.extra,
            conf.wait,
            conf.cuda_graphs,
            plan_ladder=opening.rungs,
        )
        lane = TensorRTLane(host, runner, "")
        for index, bucket in enumerate(buckets):
            held = lane.buffers(bucket)
            for tensor, array in zip(model.inputs, held.inputs, strict=True):
                array[...] = given[f"{index}.{tensor.name}"]
            lane.run(bucket, bucket.rows)
            for tensor, array in zip(model.outputs, held.outputs, strict=True):
                want = expected[f"{index}.{tensor.name}"]
                far = distance(np.array(array), want, tensor.datatype, says.tolerance)
                if far:
                    raise EngineError(
                        f"output '{tensor.name}' of {place.library.name} is not that of ONNX "
                        f"Runtime: {far}"
                    )
    finally:
        if runner is not None:
            runner.close()
        memory.close()


def _on_cpu(opening: Opening, allocate: Callable[[int], Any], note: str) -> TensorRTLane:
    host = HostArrays(opening.model, opening.rungs, allocate)
    runner = CpuRunner(opening.cpu_graph, opening.model, host, opening.extra, opening.weights)
    return TensorRTLane(host, runner, f"onnxruntime {runner.version} on the CPU; {note}")


def _until_built(opening: Opening, place: Place) -> TensorRTLane:
    """A lane on the CPU that the GPU takes over when its plan is built, checked and bound."""
    memory = Memory(place.gpu)
    try:
        lane = _on_cpu(opening, memory.pinned, f"a plan for {place.gpu.name} is being built")
    except BaseException:
        memory.close()
        raise
    lane.when_closed(memory.close)
    pending = _built(opening, place)
    host = lane.host

    def work() -> None:
        try:
            engine = _engine(opening, place, pending.result())
            refuse_wrong_numbers(opening, place, engine)
            runner = _runner(opening, place, engine, host)
        except Exception as error:
            lane.tell(f"{lane.describe().split(';')[0]}; TensorRT is not used: {error}")
            event("engine_failed", reason=str(error))
            return
        about = place.about(runner.captured, len(opening.rungs.rungs))
        lane.take(runner, about)
        event("engine_ready", engine=about)

    Thread(target=work, name="takeover", daemon=True).start()
    return lane
