"""How a lane is opened: which plan, and who answers until it is there."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.building import build
from gateway.engines.tensorrt.cache import key_of
from gateway.engines.tensorrt.checking import refuse_wrong_numbers
from gateway.engines.tensorrt.cpu import CpuRunner
from gateway.engines.tensorrt.engine import Engine, shared
from gateway.engines.tensorrt.host import HostArrays, plain
from gateway.engines.tensorrt.lane import TensorRTLane
from gateway.engines.tensorrt.memory import Memory
from gateway.engines.tensorrt.place import Opening, Place, place_of, prepare
from gateway.engines.tensorrt.runner import DeviceRunner


def open_lane(model: Model, largest: Bucket, lane: int) -> TensorRTLane:
    """Open a model on a GPU; on the CPU where the model allows it and there is no other way.

    Raises:
        EngineError: a sentence that says what is missing.
        DeviceLost: the GPU was lost earlier.

    """
    opening = prepare(model, largest)
    try:
        place = place_of(opening, lane)
        plan = stored_plan(opening, place)
        if plan is None and not opening.cpu:
            refuse_build(opening)
            plan = _built(opening, place).result()
        if plan is not None:
            return _on_gpu(opening, place, plan)
        refuse_build(opening)
    except EngineError as error:
        if not opening.cpu:
            raise
        return _on_cpu(opening, plain, f"TensorRT is not used: {error}")
    return _until_built(opening, place)


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
    refuse_wrong_numbers(opening, engine)
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


def _on_cpu(opening: Opening, allocate: Callable[[int], Any], note: str) -> TensorRTLane:
    """A lane on the CPU: by the data plane's ONNX Runtime, or by one of this process's own.

    The data plane's knows the graph alone: no weights or inputs that come from other files.
    """
    host = HostArrays(opening.model, opening.rungs, allocate)
    says = opening.says
    if opening.model.stand_in and not (says.adapter or says.refit or says.reference):
        return TensorRTLane(host, None, "the data plane's ONNX Runtime", note)
    runner = CpuRunner(opening.cpu_graph, opening.model, host, opening.extra, opening.weights)
    return TensorRTLane(host, runner, f"onnxruntime {runner.version} on the CPU", note)


def _until_built(opening: Opening, place: Place) -> TensorRTLane:
    """A lane on the CPU that the GPU takes over when its plan is built, checked and bound."""
    memory = Memory(place.gpu)
    note = (
        f"a plan for {place.gpu.name} is being built; until it is there ONNX Runtime answers on the"
        " CPU"
    )
    try:
        lane = _on_cpu(opening, memory.pinned, note)
    except BaseException:
        memory.close()
        raise
    lane.when_closed(memory.close)
    pending = _built(opening, place)
    host = lane.host

    def work() -> None:
        try:
            engine = _engine(opening, place, pending.result())
            refuse_wrong_numbers(opening, engine, neighbours=True)
            runner = _runner(opening, place, engine, host)
        except Exception as error:
            lane.note(f"TensorRT is not used: {error}")
            return
        lane.take(runner, place.about(runner.captured, len(opening.rungs.rungs)))

    Thread(target=work, name="takeover", daemon=True).start()
    return lane
