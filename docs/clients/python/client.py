"""One decision within a deadline: grpcio, with the stubs that come along with Sluicegate.

Exit codes: 0 answered, 1 refused, 3 unreachable.
"""

import argparse
import sys
import time
from typing import Any

import grpc
import numpy as np

from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs

CODE = grpc.StatusCode


def pushback_ms(error: Any) -> int:
    """When another try may succeed, as the server says; below zero: never."""
    return int(dict(error.trailing_metadata()).get("grpc-retry-pushback-ms", -1))


def decide(stub: Any, args: argparse.Namespace, headers: list[tuple[str, str]]) -> str:
    """Ask what the model takes, then for one row of zeros."""
    asked = pb.ModelMetadataRequest(name=args.model)
    takes = stub.ModelMetadata(asked, timeout=5, metadata=headers).inputs[0]
    # The first dimension is the batch.
    row = np.zeros([1, *takes.shape[1:]], np.float32)
    request = pb.ModelInferRequest(model_name=args.model, raw_input_contents=[row.tobytes()])
    request.inputs.add(name=takes.name, datatype=takes.datatype, shape=row.shape)

    def infer() -> Any:
        return stub.ModelInfer(request, timeout=args.deadline_ms / 1000, metadata=headers)

    try:
        answer = infer()
    except grpc.RpcError as error:
        if error.code() != CODE.RESOURCE_EXHAUSTED or pushback_ms(error) < 0:
            raise
        # Once, and not before the server said. A caller whose time is over would give up here.
        time.sleep(pushback_ms(error) / 1000)
        answer = infer()
    score = np.frombuffer(answer.raw_output_contents[0], np.float32)[0]
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
    headers = [("traceparent", args.traceparent)] if args.traceparent else []
    headers += [("authorization", f"Bearer {args.token}")] if args.token else []

    with grpc.insecure_channel(args.target) as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        try:
            ready = stub.ServerReady(pb.ServerReadyRequest(), timeout=5).ready
        except grpc.RpcError as error:
            print(f"unreachable: {error.details()}")
            return 3
        if not ready:
            print("refused: the server is not ready")
            return 1
        try:
            print(decide(stub, args, headers))
        except grpc.RpcError as error:
            code, why = error.code(), error.details()
            if code == CODE.RESOURCE_EXHAUSTED:
                print(f"shed: {why} (pushback {pushback_ms(error)} ms)")
            elif code == CODE.DEADLINE_EXCEEDED:
                print(f"late: {why}")
            else:
                print(f"refused: {code.name}: {why}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
