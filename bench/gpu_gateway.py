"""The gateway's half of `bench.gpu_check`: the real server with one model, under load."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench import servers
from bench.gpu_shapes import Shape
from bench.load import LoadSpec, run
from bench.workload import encode_rows, encode_texts, write_requests
from gateway.cli.status import fetch
from gateway.engines import Tensor
from gateway.packing import Text, Wishes, pack_files, pack_graph
from gateway.wire import open_inference_pb2 as pb

FORMAT = "sluicegate.contract/1"


def _requests(shape: Shape, length: int) -> list[bytes]:
    if shape.tokenizer is not None:
        # Two of the tokens are the special ones around a text.
        return encode_texts(shape.name, ["the " * (length - 2)] * 64)
    (tensor,), chance = shape.model.inputs, np.random.default_rng(3)
    if tensor.datatype == "FP32":
        x = chance.standard_normal((256, tensor.shape[1])).astype(np.float32)
        return encode_rows(shape.name, x)
    tokens = chance.integers(1, 40, (64, tensor.shape[1]))
    return [_tokens(shape.name, tensor, row[None]) for row in tokens]


def _tokens(model: str, tensor: Tensor, row: Any) -> bytes:
    request = pb.ModelInferRequest(model_name=model)
    request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=row.shape)
    request.raw_input_contents.append(row.astype(tensor.dtype).tobytes())
    data: bytes = request.SerializeToString()
    return data


def _contract(shape: Shape) -> str:
    """The contract of a graph that packing cannot read, as its weights lie beside it."""
    told = f'format = "{FORMAT}"\nengine = "tensorrt"\ngraph = "model.onnx"\n'
    for side, tensors in (("inputs", shape.model.inputs), ("outputs", shape.model.outputs)):
        for tensor in tensors:
            # TOML's strings and lists of numbers are JSON's.
            told += f"[[{side}]]\nname = {json.dumps(tensor.name)}\n"
            told += f'datatype = "{tensor.datatype}"\nshape = {list(tensor.shape)}\n'
    return told


def _pack(engine: str, shape: Shape, folder: Path, repository: Path) -> None:
    if len(shape.model.files) > 1:
        files = dict(shape.model.files) | {"contract.toml": _contract(shape).encode()}
        pack_files(files, shape.name, repository)
        return
    graph = folder / "graph.onnx"
    graph.write_bytes(shape.model.files["model.onnx"])
    text = None
    if shape.tokenizer is not None:
        text = Text(shape.tokenizer, max_tokens=shape.lengths[-1], max_bytes=8192)
    wishes = Wishes(text=text, engine="tensorrt" if engine == "tensorrt" else "onnxruntime")
    pack_graph(graph, shape.name, repository, wishes=wishes)


def refusal(engine: str, shape: Shape) -> str | None:
    """Why a shape cannot be served by an engine, None if it can."""
    if engine != "tensorrt" and len(shape.model.files) > 1:
        return "its weights lie beside the graph, which the data plane's ONNX Runtime does not open"
    return None


def through_gateway(
    engine: str, shape: Shape, folder: Path, seconds: float, bare: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """One call after the other, and as many as fill the largest batch, through the gateway.

    Raises:
        LoadError: the load generator failed.
        ServerError: the server did not start, or does not serve the model.
        PackError: the model cannot be packed.

    """
    repository = folder / f"models-{engine}"
    repository.mkdir(exist_ok=True)
    _pack(engine, shape, folder, repository)
    provider = 'provider = "cuda"\n' if engine == "cuda" else ""
    config = f"[model.{shape.name}]\nmax_batch = {shape.largest.rows}\n{provider}"
    found = []
    with servers.sluicegate(repository, config=config) as server:
        (told,) = fetch(f"127.0.0.1:{server.http_port}")["models"]
        if told["state"] != "live":
            raise servers.ServerError(f"the gateway does not serve it: {told['error']}")
        for length in shape.lengths:
            requests = folder / "requests.bin"
            write_requests(requests, _requests(shape, length))
            alone = run(LoadSpec(requests, seconds, in_flight=1, connections=1), server.port)
            many = run(LoadSpec(requests, seconds, in_flight=4 * shape.largest.rows), server.port)
            rate = many["ok_per_s"]
            full = [b for b in bare if (b["rows"], b["length"]) == (shape.largest.rows, length)]
            share = rate / full[0]["rows_per_s"] if full else None
            found.append(
                {"length": length, "engine": told["engine"], "note": told["engine_note"]}
                | {"one_row_a_batch_because": told["row_dependence"]}
                | {"alone_us": alone["latency_us"], "alone_calls": alone["ok"]}
                | {"rows_per_s": rate, "of_the_bare_engine": share}
            )
    return found
