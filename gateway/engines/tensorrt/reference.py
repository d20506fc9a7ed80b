"""What the outputs should be: seeded rows through ONNX Runtime on the CPU, kept beside the plan.

It is reckoned in the builder's process, so that the serving process loads no second runtime.
"""

import io
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.engines.contract import Bucket, EngineError, Model, Tensor
from gateway.engines.tensorrt.settings import Tolerance

Arrays = dict[str, NDArray[Any]]
SEED = 7
# Token ids stay among the first, which every vocabulary has.
IDS = 500
ROWS = 4


def mask_of(files: Mapping[str, bytes]) -> str | None:
    """The name of a text model's mask, by its contract."""
    try:
        told = tomllib.loads(files.get("contract.toml", b"").decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return None
    name = told.get("text", {}).get("mask")
    return name if isinstance(name, str) else None


def samples(model: Model, bucket: Bucket, seed: int = SEED) -> list[NDArray[Any]]:
    """Seeded rows of a bucket, one array an input; a text's rows have different lengths."""
    chance, mask = np.random.default_rng(seed), mask_of(model.files)
    return [_sample(tensor, bucket, chance, tensor.name == mask) for tensor in model.inputs]


def _sample(
    tensor: Tensor, bucket: Bucket, chance: np.random.Generator, mask: bool
) -> NDArray[Any]:
    shape = tensor.batch_shape(bucket)
    if mask:
        lengths = np.maximum(1, bucket.length - np.arange(bucket.rows) % 8)
        made = np.arange(bucket.length)[None, :] < lengths[:, None]
        return made.astype(tensor.dtype)
    if tensor.datatype == "BF16":
        floats = chance.standard_normal(shape).astype(np.float32)
        return (floats.view(np.uint32) >> 16).astype(np.uint16)
    if np.issubdtype(tensor.dtype, np.floating):
        return chance.standard_normal(shape).astype(tensor.dtype)
    most = IDS if -1 in tensor.shape[1:] else 8
    return chance.integers(0, 2 if tensor.datatype == "BOOL" else most, shape).astype(tensor.dtype)


def checked_buckets(largest: Bucket) -> tuple[Bucket, ...]:
    """Which batches are compared: one row, and a few of the greatest length."""
    few = Bucket(min(ROWS, largest.rows), largest.length)
    return tuple({Bucket(1, max(1, largest.length // 2)): None, few: None})


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as the bytes of an .npz file, the same for the same arrays."""
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **dict(arrays))
    return out.getvalue()


def unpacked(data: bytes, what: str) -> Arrays:
    """Arrays of an .npz file; pickled objects are refused.

    Raises:
        EngineError: it is no such file.

    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except Exception as error:
        raise EngineError(f"{what} is no file of arrays (.npz): {error}") from error


def write_reference(job: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Run the job's inputs (.npz) through ONNX Runtime, outputs to its file.

    Names in the .npz: `b.NAME` is input NAME of batch b; `extra.NAME` an input of every batch,
    `weights.NAME` an initializer in place of the graph's.
    """
    from gateway.engines.tensorrt.cpu import Session  # noqa: PLC0415 - needs ONNX Runtime

    progress.stage("reckoning with ONNX Runtime")
    given = unpacked(Path(job["inputs"]).read_bytes(), "the sample")
    groups: dict[str, Arrays] = {}
    for name, value in given.items():
        group, _, tensor = name.partition(".")
        groups.setdefault(group, {})[tensor] = value
    extra, weights = groups.pop("extra", {}), groups.pop("weights", {})
    running, made = Session(job["graph"], weights), Arrays()
    for group, inputs in groups.items():
        answers = running.run(job["outputs"], inputs | extra)
        made |= {f"{group}.{n}": a for n, a in zip(job["outputs"], answers, strict=True)}
    Path(job["out"]).write_bytes(packed(made))
    return {}


def distance(
    given: NDArray[Any], expected: NDArray[Any], datatype: str, tolerance: Tolerance
) -> str | None:
    """Why an output is too far from the reference, None if it is not."""
    if datatype == "BF16":
        given = (given.astype(np.uint32) << 16).view(np.float32)
        expected = np.asarray(expected)
        if expected.dtype == np.uint16:
            expected = (expected.astype(np.uint32) << 16).view(np.float32)
    if not np.issubdtype(given.dtype, np.floating):
        wrong = int((given != expected).sum())
        return f"{wrong} of {given.size} whole numbers differ" if wrong else None
    a, b = given.astype(np.float64), expected.astype(np.float64)
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return "it has NaN in other places"
    with np.errstate(invalid="ignore"):
        apart = np.where((a == b) | np.isnan(a), 0.0, np.abs(a - b))
    bound = tolerance.absolute + tolerance.relative * np.abs(np.nan_to_num(b))
    if (apart <= bound).all():
        return None
    worst = int(np.argmax(apart - bound))
    return (
        f"it is {a.ravel()[worst]:.6g} where ONNX Runtime says {b.ravel()[worst]:.6g} (allowed are "
        f"{tolerance.absolute:g} and {tolerance.relative:g} of the value)"
    )
