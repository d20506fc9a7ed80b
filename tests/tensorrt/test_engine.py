"""The engine on the doubles: the contract, its buckets, waiting, and what it leaves behind."""

import json

import pytest

from tests.tensorrt.conftest import Machine

START = """
import json, sys, tempfile, threading, time
from pathlib import Path
import numpy as np
from gateway.engines import Bucket, find
from gateway.engines.conformance import problems
from tests.tensorrt import programs as p
opened = find("tensorrt")
"""
CONFORMS = """
print(json.dumps(problems(opened, p.perceptron(), Bucket(8), p.rows_of)))
words = p.words(Path(tempfile.mkdtemp()))
print(json.dumps(problems(opened, words, Bucket(5, 40), p.tokens_of)))
print(json.dumps(p.live()))
"""


@pytest.mark.parametrize(
    "settings", ["", "cuda_graphs = false", 'wait = "spin"', "rows = [3]\nlengths = [5, 24]"]
)
def test_the_engine_keeps_the_contract_and_leaves_nothing_behind(
    machine: Machine, settings: str
) -> None:
    machine.set(settings)
    told = machine.run(START + CONFORMS).splitlines()
    assert told == ["[]", "[]", "{}"]


def test_a_batch_that_cannot_be_captured_is_queued_call_by_call(machine: Machine) -> None:
    code = "\nlane = opened(p.perceptron(), Bucket(8), 0); print(lane.describe())"
    assert machine.run(START + code).endswith("CUDA graphs\n")
    told = machine.run(START + code + CONFORMS, DRIVER_DOUBLE_NO_CAPTURE="1").splitlines()
    assert told[0].endswith("without CUDA graphs")
    assert told[1:3] == ["[]", "[]"]


FLAGS = """
import ctypes
lane = opened(p.perceptron(), Bucket(2), 0)
print(p.driver().driver_double_context_flags())
"""


@pytest.mark.parametrize(("wait", "flags"), [("block", "4\n"), ("spin", "1\n")])
def test_how_a_thread_waits_is_the_operators_choice(
    machine: Machine, wait: str, flags: str
) -> None:
    machine.set(f'wait = "{wait}"')
    assert machine.run(START + FLAGS) == flags


TICKS = """
lane = opened(p.perceptron(), Bucket(2), 0)
import os
os.environ["DRIVER_DOUBLE_DELAY_US"] = "300000"
ticks, done = 0, threading.Event()
def tick():
    global ticks
    while not done.is_set():
        ticks += 1
        time.sleep(0.001)
# Who asked for the lock would get it only when the other gives it away.
sys.setswitchinterval(60)
thread = threading.Thread(target=tick)
thread.start()
before = ticks
lane.run(Bucket(2), 2)
print(ticks - before)
done.set()
"""


@pytest.mark.parametrize("settings", ["", 'wait = "spin"', "cuda_graphs = false"])
def test_pythons_lock_is_given_away_while_a_batch_runs(machine: Machine, settings: str) -> None:
    machine.set(settings)
    # 300 ms of device time, a tick a millisecond: a tenth is far from chance.
    assert int(machine.run(START + TICKS)) > 30


THREADS = """
lanes = [opened(p.perceptron(), Bucket(8), index) for index in range(3)]
model, wrong = p.perceptron(), []
def work(lane, seed):
    chance = np.random.default_rng(seed)
    for _ in range(100):
        rows = int(chance.integers(1, 9))
        x = chance.standard_normal((rows, 32)).astype(np.float32)
        def one():
            if not np.allclose(p.run(lane, [x])[0], p.expected(model, [x])[0], 1e-4, 1e-5):
                wrong.append(rows)
        # A batch may run on any thread, one at a time.
        if rows % 4 == 0:
            other = threading.Thread(target=one); other.start(); other.join()
        else:
            one()
threads = [threading.Thread(target=work, args=(l, i)) for i, l in enumerate(lanes)]
[t.start() for t in threads]; [t.join() for t in threads]
during = p.live()
[lane.close() for lane in lanes]; [lane.close() for lane in lanes]
print(json.dumps([wrong, during["streams"], p.live()]))
"""


def test_lanes_run_beside_each_other_from_any_thread(machine: Machine) -> None:
    assert json.loads(machine.run(START + THREADS)) == [[], 3, {}]


PADDING = """
lane = opened(p.perceptron(), Bucket(8), 0)
p.run(lane, [np.full((8, 32), np.nan, np.float32)])
p.run(lane, [np.zeros((5, 32), np.float32)])
print(bool(np.isnan(lane.buffers(Bucket(8)).inputs[0]).any()))
"""


def test_rows_that_fill_a_bucket_up_are_zeros(machine: Machine) -> None:
    assert machine.run(START + PADDING) == "False\n"


IMPORTED = """
import sys
from gateway.engines import find
import gateway.cli.main
find("numpy")
print([n for n in sys.modules if n.split(".")[0] in ("pycuda", "tensorrt", "tensorrt_rtx")])
find("tensorrt")
print([n for n in sys.modules if n.split(".")[0] in ("pycuda", "tensorrt", "tensorrt_rtx")])
"""


def test_nothing_of_cuda_is_imported_until_a_model_asks_for_it(machine: Machine) -> None:
    assert machine.run(IMPORTED) == "[]\n[]\n"


RTX = """
print(json.dumps(problems(opened, p.perceptron(), Bucket(4), p.rows_of)))
lane = opened(p.perceptron(), Bucket(4), 0)
print(lane.describe())
"""


def test_the_other_flavour_keeps_the_contract_too(machine: Machine) -> None:
    machine.set('flavour = "tensorrt_rtx"')
    told = machine.run(START + RTX, DRIVER_DOUBLE_CAPABILITY="89").splitlines()
    assert told == ["[]", "tensorrt_rtx 1.7.1.116 on driver double, CUDA graphs"]
    # Kernels compiled for this driver are kept for the next start.
    assert len(list(machine.cache.glob("*.kernels"))) == 1
