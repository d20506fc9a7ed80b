"""What every peer has in common: its flags, and ONNX Runtime set as in the gateway.

Run by each peer's own interpreter, so it needs nothing but numpy and onnxruntime.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

MODEL, INPUT, OUTPUT = "tabular", "features", "score"
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Flags:
    """What a peer is told: the graph, and the port of its door on 127.0.0.1."""

    graph: Path
    port: int


def flags() -> Flags:
    """Read `--graph FILE --port N`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    told = parser.parse_args()
    return Flags(told.graph, told.port)


class Session:
    """A graph in ONNX Runtime: one thread inside an operator, none that spins."""

    def __init__(self, graph: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            graph.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def score(self, x: Rows) -> Rows:
        """Scores float32 [n, 1] of rows float32 [n, 32]."""
        (y,) = self._session.run([OUTPUT], {INPUT: x})
        scores: Rows = y
        return scores
