"""One decision within a deadline: NVIDIA's own client, tritonclient, as it is.

Exit codes: 0 answered, 1 refused, 3 unreachable.
"""

import argparse
import sys

import numpy as np
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException


def decide(client: triton.InferenceServerClient, args: argparse.Namespace) -> str:
    """Ask what the model takes, then for one row of zeros."""
    headers = {"traceparent": args.traceparent} if args.traceparent else {}
    headers |= {"authorization": f"Bearer {args.token}"} if args.token else {}
    takes = client.get_model_metadata(args.model, headers=headers, client_timeout=5).inputs[0]
    # The first dimension is the batch.
    row = np.zeros([1, *takes.shape[1:]], np.float32)
    tensor = triton.InferInput(takes.name, row.shape, takes.datatype)
    tensor.set_data_from_numpy(row)
    # client_timeout is the gRPC deadline, in seconds. The argument `timeout`, in microseconds, is
    # a parameter of the request: it bounds the server's work, not how long this call waits.
    deadline = args.deadline_ms / 1000
    result = client.infer(args.model, [tensor], headers=headers, client_timeout=deadline)
    answer = result.get_response()
    score = result.as_numpy(answer.outputs[0].name).flat[0]
    digest = answer.parameters["sluicegate_digest"].string_param
    name, version = answer.model_name, answer.model_version
    return f"score={score:.7f} model={name} version={version} digest={digest}"


def main() -> int:
    """Print the answer, or why there is none."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--target", default="127.0.0.1:8001", metavar="HOST:PORT")
    flags.add_argument("--model", default="site-risk")
    flags.add_argument("--deadline-ms", type=int, default=10)
    flags.add_argument("--traceparent", help="the trace that this call belongs to")
    flags.add_argument("--token", help="who calls; on a network only over TLS")
    args = flags.parse_args()

    with triton.InferenceServerClient(args.target) as client:
        try:
            ready = client.is_server_ready(client_timeout=5)
        except InferenceServerException as error:
            print(f"unreachable: {error.message()}")
            return 3
        if not ready:
            print("refused: the server is not ready")
            return 1
        try:
            print(decide(client, args))
        except InferenceServerException as error:
            # This client keeps the code and the sentence and drops the trailers, so when to try
            # again (grpc-retry-pushback-ms) is not known here; the example does not try again.
            code, why = str(error.status()).removeprefix("StatusCode."), error.message()
            if code == "RESOURCE_EXHAUSTED":
                print(f"shed: {why}")
            elif code == "DEADLINE_EXCEEDED":
                print(f"late: {why}")
            else:
                print(f"refused: {code}: {why}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
