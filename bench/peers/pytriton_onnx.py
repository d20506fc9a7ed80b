"""PyTriton: Triton's C++ server in front of a Python model with its dynamic batcher.

`python -m bench.peers.pytriton_onnx --graph FILE --port N`, in the environment `pytriton`. The
same server answers ServerLive without any Python.
"""

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from bench.peers.session import INPUT, MODEL, OUTPUT, Rows, Session, flags

FEATURES = 32
MOST_ROWS = 64


def main() -> None:
    """Serve until told to stop."""
    told = flags()
    session = Session(told.graph)

    @batch  # type: ignore[untyped-decorator] # no types in the dev environment
    def infer(**inputs: Rows) -> dict[str, Rows]:
        return {OUTPUT: session.score(inputs[INPUT])}

    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=told.port,
        http_address="127.0.0.1",
        http_port=told.port + 1,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name=MODEL,
            infer_func=infer,
            inputs=[Tensor(name=INPUT, dtype=np.float32, shape=(FEATURES,))],
            outputs=[Tensor(name=OUTPUT, dtype=np.float32, shape=(1,))],
            # No delay: a batch is what has queued up while the one before it ran.
            config=ModelConfig(
                batching=True,
                max_batch_size=MOST_ROWS,
                batcher=DynamicBatcher(max_queue_delay_microseconds=0),
            ),
        )
        triton.serve()


if __name__ == "__main__":
    main()
