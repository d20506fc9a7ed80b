"""The engine on the doubles: the contract, its buckets, and what it leaves behind."""

from tests.tensorrt.conftest import Machine

CONFORMS = """
import tempfile
from pathlib import Path
from gateway.engines import Bucket, find
from gateway.engines.conformance import problems
from tests.tensorrt import programs as p

print(problems(find("tensorrt"), p.perceptron(), Bucket(8), p.rows_of))
words = p.words(Path(tempfile.mkdtemp()))
print(problems(find("tensorrt"), words, Bucket(5, 40), p.tokens_of))
"""


def test_the_engine_keeps_the_contract(machine: Machine) -> None:
    assert machine.run(CONFORMS).split("\n") == ["[]", "[]", ""]
