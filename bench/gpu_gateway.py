"""The gateway's half of `bench.gpu_check`: the real server with one model, under load.

What it answers is compared, row by row, with ONNX Runtime on the CPU.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from bench import servers
from bench.gpu_bare import OnnxRuntime
from bench.gpu_shapes import GRAPH, Shape
from bench.load import LoadSpec, run
from bench.workload import collect, encode_rows, encode_texts, read_answers, write_requests
from gateway.cli.status import fetch
from gateway.engines import Bucket
from gateway.packing import Text, Wishes, pack_graph
from gateway.wire import open_inference_pb2 as pb

# Distinct requests: of a decoder few, since the CPU takes seconds for each.
ROWS = {"tabular": 256, "encoder": 64, "encoder-tokens": 64}
ROWS_OF_A_DECODER = 8
SEED = 3
MAX_BYTES = 8192


@dataclass(frozen=True)
class Work:
    """Requests of one row each, all of one length, and the scores that the CPU has for them."""

    length: int
    requests: list[bytes]
    scores: NDArray[np.float32]


def work_for(shape: Shape, reference: OnnxRuntime) -> list[Work]:
    """Seeded requests of each length."""
    return [_work(shape, length, reference) for length in shape.lengths]


def _work(shape: Shape, length: int, reference: OnnxRuntime) -> Work:
    chance = np.random.default_rng(SEED)
    rows = ROWS.get(shape.name, ROWS_OF_A_DECODER)
    if shape.tokenizer is not None:
        texts, ids = _texts(shape.tokenizer, rows, length, chance)
        requests = encode_texts(shape.name, texts)
        inputs: list[NDArray[Any]] = [ids, np.ones_like(ids)]
    elif shape.inputs[0].datatype == "FP32":
        x = chance.standard_normal((rows, shape.inputs[0].shape[1])).astype(np.float32)
        requests, inputs = encode_rows(shape.name, x), [x]
    else:
        ids = chance.integers(1, 40, (rows, shape.inputs[0].shape[1]))
        # The second input is the mask.
        inputs = [ids, np.ones_like(ids)][: len(shape.inputs)]
        requests = [_tokens(shape, [each[n : n + 1] for each in inputs]) for n in range(rows)]
    (scores,) = reference.bind(Bucket(rows, length), inputs)()
    return Work(length, requests, scores.reshape(-1).copy())


def _texts(
    tokenizer: bytes, rows: int, length: int, chance: np.random.Generator
) -> tuple[list[str], NDArray[np.int64]]:
    """Texts of exactly so many tokens, and the tokens, int64 [rows, length]."""
    made = Tokenizer.from_str(tokenizer.decode())
    made.no_padding()
    made.no_truncation()
    # Whole words; two tokens of each text are the special ones around it.
    words = [w for w in made.get_vocab() if w.isascii() and w.isalpha() and len(w) > 2]
    words.sort()
    texts = [" ".join(chance.choice(words, length - 2)) for _ in range(rows)]
    ids = [each.ids for each in made.encode_batch(texts)]
    return texts, np.array(ids, np.int64)


def _tokens(shape: Shape, row: list[NDArray[Any]]) -> bytes:
    request = pb.ModelInferRequest(model_name=shape.name)
    for tensor, value in zip(shape.inputs, row, strict=True):
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=value.shape)
        request.raw_input_contents.append(value.astype(tensor.dtype).tobytes())
    data: bytes = request.SerializeToString()
    return data


def _pack(engine: str, shape: Shape, repository: Path) -> None:
    text = None
    if shape.tokenizer is not None:
        text = Text(shape.tokenizer, max_tokens=shape.lengths[-1], max_bytes=MAX_BYTES)
    wishes = Wishes(text=text, engine="tensorrt" if engine == "tensorrt" else "onnxruntime")
    pack_graph(shape.folder(engine) / GRAPH, shape.name, repository, wishes=wishes)


def through_gateway(
    engine: str, shape: Shape, work: list[Work], folder: Path, seconds: float
) -> list[dict[str, Any]]:
    """One call after the other, and as many as fill the largest batch, through the gateway.

    Raises:
        LoadError: the load generator failed.
        ServerError: the server did not start, or does not serve the model.
        PackError: the model cannot be packed.

    """
    repository = folder / f"models-{engine}"
    repository.mkdir(exist_ok=True)
    _pack(engine, shape, repository)
    provider = 'provider = "cuda"\n' if engine == "cuda" else ""
    config = f'[model."{shape.name}"]\nmax_batch = {shape.largest.rows}\n{provider}'
    if shape.tokenizer is not None:
        threads = max(1, (os.cpu_count() or 1) // 2)
        config = f"tokenizer_threads = {threads}\n{config}"
    found = []
    with servers.sluicegate(repository, config=config) as server:
        (told,) = fetch(f"127.0.0.1:{server.http_port}")["models"]
        if told["state"] != "live":
            raise servers.ServerError(f"the gateway does not serve it: {told['error']}")
        for each in work:
            requests, answers = folder / "requests.bin", folder / "answers.bin"
            write_requests(requests, each.requests)
            alone = run(LoadSpec(requests, seconds, in_flight=1, connections=1), server.port)
            busy = 4 * shape.largest.rows
            many = run(LoadSpec(requests, seconds, in_flight=busy), server.port)
            sends = 4 * len(each.requests)
            compared = LoadSpec(requests, 0, in_flight=busy, sends=sends, responses=answers)
            run(compared, server.port)
            found.append(
                {"length": each.length, "engine": told["engine"], "note": told["engine_note"]}
                | {"one_row_a_batch_because": told["row_dependence"]}
                | {"alone_us": alone["latency_us"], "alone_calls": alone["ok"]}
                | {"rows_per_s": many["ok_per_s"], "furthest_from_cpu": _furthest(answers, each)}
            )
    return found


def _furthest(answers: Path, work: Work) -> float:
    """The largest distance of an answer from the CPU's score; NaN where a row has no answer."""
    scores = collect(read_answers(answers), [1] * len(work.requests))
    return float(np.abs(scores.values - work.scores).max())


def add_shares(through: list[dict[str, Any]], bare: list[dict[str, Any]], rows: int) -> None:
    """Tell each length's rows a second through the gateway as a share of the bare engine's."""
    for each in through:
        full = [b for b in bare if (b["rows"], b["length"]) == (rows, each["length"])]
        each["of_the_bare_engine"] = each["rows_per_s"] / full[0]["rows_per_s"] if full else None
