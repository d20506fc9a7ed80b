"""LitServe: a model behind HTTP with JSON; it has no gRPC.

`python -m bench.peers.litserve_onnx --graph FILE --port N`, in the environment `litserve`. A
request is `POST /predict {"features": [32 numbers]}`, an answer `{"score": number}`.
"""

from pathlib import Path

import litserve
import numpy as np

from bench.peers.session import INPUT, OUTPUT, Rows, Session, flags


class Scorer(litserve.LitAPI):  # type: ignore[misc] # no types in the dev environment
    """One ONNX Runtime session in LitServe's one worker process; no batching, which slows it."""

    def __init__(self, graph: Path) -> None:
        super().__init__()
        self.graph = graph

    def setup(self, device: str) -> None:
        """Open the session."""
        self.session = Session(self.graph)

    def decode_request(self, request: dict[str, list[float]]) -> Rows:
        """One row, float32 [1, 32]."""
        return np.asarray([request[INPUT]], np.float32)

    def predict(self, x: Rows) -> Rows:
        """Its score, float32 [1, 1]."""
        return self.session.score(x)

    def encode_response(self, output: Rows) -> dict[str, float]:
        """One answer."""
        return {OUTPUT: float(output[0, 0])}


def main() -> None:
    """Serve until told to stop."""
    told = flags()
    server = litserve.LitServer(Scorer(told.graph), accelerator="cpu")
    server.run(
        host="127.0.0.1",
        port=told.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
