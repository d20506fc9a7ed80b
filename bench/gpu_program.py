"""What runs in a process of its own on a double of TensorRT: `python -m bench.gpu_program NAME`.

It prints one JSON object. The model is the 32-feature network. On the driver double
(`bench.gpu_double`) the device's work is ONNX Runtime in a host function, and the double counts the
time that it takes; on a real GPU (`bench.gpu_driver`) it is kernels, timed by what a queue of them
takes.
"""

import ctypes
import gc
import json
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bench import models
from gateway.engines import Bucket, Lane, Model, Tensor
from gateway.engines.tensorrt import open_lane
from gateway.engines.tensorrt.driver import device

LIVE = ("streams", "events", "graphs", "executables", "buffers", "pinned", "device_bytes")
BUCKETS = (1, 2, 4, 8, 16, 32, 64)


class Meter:
    """What the driver double counts; on a real driver the device's memory in use alone."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self.is_double = hasattr(self._library, "driver_double_live")
        if self.is_double:
            for name in ("busy_ns", "live"):
                getattr(self._library, f"driver_double_{name}").restype = ctypes.c_int64

    def busy_ns(self) -> int:
        """Time that the double's device has worked."""
        found: int = self._library.driver_double_busy_ns()
        return found

    def live(self) -> dict[str, int]:
        """What is held on the device."""
        if self.is_double:
            library = self._library
            return {name: library.driver_double_live(index) for index, name in enumerate(LIVE)}
        gpu = device(0)
        with gpu.current():
            free, whole = gpu.cuda.mem_get_info()
        return {"device_bytes": whole - free}


def _model() -> Model:
    graph = models.perceptron().SerializeToString()
    features, score = Tensor("features", "FP32", (-1, 32)), Tensor("score", "FP32", (-1, 1))
    return Model((features,), (score,), {"model.onnx": graph}, "model.onnx")


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def host_cost(batches: int) -> dict[str, Any]:
    """Time of `run` beyond the device's own, ns a batch, for each bucket."""
    meter, model = Meter(), _model()
    lane = open_lane(model, Bucket(64), 0)
    told: dict[str, Any] = {"engine": lane.describe(), "buckets": {}}
    x = models.rows(64)
    for rows in BUCKETS:
        bucket = Bucket(rows)
        lane.buffers(bucket).inputs[0][...] = x[:rows]
        costs, device = [], []
        for number in range(batches + 200):
            busy = meter.busy_ns()
            started = time.perf_counter_ns()
            lane.run(bucket, rows)
            took = time.perf_counter_ns() - started
            busy = meter.busy_ns() - busy
            if number >= 200:
                costs.append(took - busy)
                device.append(busy)
        told["buckets"][rows] = {
            "host_ns": _quantiles(costs),
            "device_ns": _quantiles(device),
            "batches": batches,
        }
    lane.close()
    return told


def whole(batches: int) -> dict[str, Any]:
    """Time of `run`, ns a batch, device and host together, for each bucket."""
    lane = open_lane(_model(), Bucket(64), 0)
    told: dict[str, Any] = {"engine": lane.describe(), "buckets": {}}
    x = models.rows(64)
    for rows in BUCKETS:
        bucket = Bucket(rows)
        lane.buffers(bucket).inputs[0][...] = x[:rows]
        took = []
        for number in range(batches + 200):
            started = time.perf_counter_ns()
            lane.run(bucket, rows)
            if number >= 200:
                took.append(time.perf_counter_ns() - started)
        told["buckets"][rows] = _quantiles(took)
    lane.close()
    return told


def _quantiles(samples: list[int]) -> dict[str, float]:
    ordered = np.sort(np.array(samples, np.float64))
    picked = {f"p{q}": float(ordered[int(len(ordered) * q / 100)]) for q in (50, 90, 99)}
    return picked | {"mean": float(ordered.mean())}


def soak(batches: int) -> dict[str, Any]:
    """Batches of random rows on three lanes; what was wrong, and what is left at the end."""
    meter, model = Meter(), _model()
    # What is loaded once and stays: a driver hands memory out in pieces of megabytes.
    for lane in [open_lane(model, Bucket(64), index) for index in range(3)]:
        lane.close()
    del lane
    gc.collect()
    before = meter.live()
    pool = models.rows(4096)
    session = onnxruntime.InferenceSession(
        model.files["model.onnx"], providers=["CPUExecutionProvider"]
    )
    want: NDArray[np.float32] = session.run(None, {"features": pool})[0]
    lanes = [open_lane(model, Bucket(64), index) for index in range(3)]
    wrong = [0] * len(lanes)
    rows_run = [0] * len(lanes)
    memory: list[float] = []

    def work(index: int, lane: Lane) -> None:
        chance = random.Random(index)  # noqa: S311
        for number in range(batches // len(lanes) + 1):
            bucket = Bucket(chance.randint(1, 64))
            rows = chance.randint(1, bucket.rows)
            at = chance.randint(0, len(pool) - rows)
            held = lane.buffers(bucket)
            held.inputs[0][:rows] = pool[at : at + rows]
            lane.run(bucket, rows)
            near = np.isclose(held.outputs[0][:rows], want[at : at + rows], 1e-4, 1e-5)
            wrong[index] += int((~near).sum())
            rows_run[index] += rows
            if index == 0 and number % 1000 == 0:
                memory.append(_resident_mb())

    threads = [threading.Thread(target=work, args=each) for each in enumerate(lanes)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    during = meter.live()
    for lane in lanes:
        lane.close()
    gc.collect()
    after = meter.live()
    return {
        "batches": len(lanes) * (batches // len(lanes) + 1),
        "rows": sum(rows_run),
        "wrong_rows": sum(wrong),
        "seconds": took,
        "held_while_open": during,
        "left": {name: after[name] - before[name] for name in before},
        # The first samples still grow: buckets are bound as they are asked for.
        "resident_mb": [round(each, 2) for each in memory],
    }


def ticks(batches: int) -> dict[str, Any]:
    """How many batches of 5 ms another thread went on beside."""
    # On a real device the kernels take so long: before they are captured.
    os.environ["TENSORRT_DOUBLE_KERNEL_US"] = "5000"
    lane = open_lane(_model(), Bucket(8), 0)
    os.environ["DRIVER_DOUBLE_DELAY_US"] = "5000"
    counted, ended = [0], threading.Event()

    def tick() -> None:
        while not ended.is_set():
            counted[0] += 1
            time.sleep(0.0002)

    # No thread is made to give Python's lock away: it is given away or it is not.
    sys.setswitchinterval(100)
    thread = threading.Thread(target=tick)
    thread.start()
    went_on = 0
    for _ in range(batches):
        before = counted[0]
        lane.run(Bucket(8), 8)
        # The tick that the lock's return lets through is not counted.
        went_on += counted[0] > before + 1
    ended.set()
    thread.join()
    lane.close()
    return {"batches": batches, "went_on": went_on, "ticks": counted[0]}


def main() -> None:
    """Run what is named, with so many batches."""
    run = {"host_cost": host_cost, "soak": soak, "ticks": ticks, "whole": whole}[sys.argv[1]]
    json.dump(run(int(sys.argv[2])), sys.stdout)


if __name__ == "__main__":
    main()
