"""Whether an engine computes what the graph says: against ONNX Runtime, and row by row."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.building import reference
from gateway.engines.tensorrt.engine import Engine
from gateway.engines.tensorrt.host import HostArrays
from gateway.engines.tensorrt.ladder import Ladder
from gateway.engines.tensorrt.lane import TensorRTLane
from gateway.engines.tensorrt.memory import Memory
from gateway.engines.tensorrt.place import Opening
from gateway.engines.tensorrt.reference import checked_buckets, distance
from gateway.engines.tensorrt.runner import DeviceRunner
from gateway.engines.tensorrt.settings import Tolerance

Arrays = Mapping[str, NDArray[Any]]


def refuse_wrong_numbers(opening: Opening, engine: Engine, *, neighbours: bool = False) -> None:
    """Compare seeded rows with ONNX Runtime's outputs on the CPU.

    Args:
        opening: the model.
        engine: its engine.
        neighbours: whether rows are also compared with themselves in other company. The data plane
            does that for what answers when it has loaded a model, and not for what comes later.

    Raises:
        EngineError: an output is further away than the model allows.

    """
    model, conf = opening.model, opening.settings
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
    alone = Bucket(1, buckets[-1].length)
    rungs = [opening.rungs.rung_for(bucket) for bucket in (*buckets, alone)]
    memory = Memory(engine.device)
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
        who, tolerance = engine.flavour.name, opening.says.tolerance
        for index, bucket in enumerate(buckets):
            rows = {t.name: given[f"{index}.{t.name}"] for t in model.inputs}
            want = {t.name: expected[f"{index}.{t.name}"] for t in model.outputs}
            _refuse(
                f"output '{{}}' of {who} is not that of ONNX Runtime",
                model,
                _run(lane, model, bucket, rows),
                want,
                tolerance,
            )
        if neighbours and buckets[-1].rows > 1 and all(t.shape[:1] == (-1,) for t in model.inputs):
            _refuse_neighbours(lane, model, buckets[-1], rows, (who, tolerance))
    finally:
        if runner is not None:
            runner.close()
        memory.close()


def _run(lane: TensorRTLane, model: Model, bucket: Bucket, rows: Arrays) -> Arrays:
    held = lane.buffers(bucket)
    for tensor, array in zip(model.inputs, held.inputs, strict=True):
        array[...] = rows[tensor.name]
    lane.run(bucket, bucket.rows)
    return {t.name: a.copy() for t, a in zip(model.outputs, held.outputs, strict=True)}


def _refuse(what: str, model: Model, got: Arrays, want: Arrays, tolerance: Tolerance) -> None:
    for tensor in model.outputs:
        far = distance(got[tensor.name], want[tensor.name], tensor.datatype, tolerance)
        if far:
            raise EngineError(f"{what.format(tensor.name)}: {far}")


def _refuse_neighbours(
    lane: TensorRTLane, model: Model, bucket: Bucket, rows: Arrays, by: tuple[str, Tolerance]
) -> None:
    """Compare the first row among others, alone, and among rows of NaN."""
    who, tolerance = by

    def first(bucket: Bucket, rows: Arrays) -> Arrays:
        return {name: array[:1] for name, array in _run(lane, model, bucket, rows).items()}

    together = first(bucket, rows)
    alone = {name: array[:1] for name, array in rows.items()}
    company = [("alone", Bucket(1, bucket.length), alone)]
    beside = {name: array.copy() for name, array in rows.items()}
    floats = [name for name, array in beside.items() if np.issubdtype(array.dtype, np.floating)]
    for name in floats:
        beside[name][1:] = np.nan
    if floats:
        company.append(("beside rows of NaN", bucket, beside))
    for how, size, given in company:
        what = f"rows depend on their neighbours with {who}: output '{{}}' of a row {how}"
        _refuse(what, model, first(size, given), together, tolerance)
