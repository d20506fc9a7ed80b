"""The recipe of a decoder: what it learns with, on which device, how it is judged."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from trainer.errors import InputError, SpecError
from trainer.loop.prepare import cuda
from trainer.spec.read import Limits, read_table

FOLDER = Path(__file__).parent
# Bytes a weight: as it lies on the device, in training with LoRA (weights alone, whose gradients
# nobody keeps), and what activations take beside them with and without checkpointing.
BYTES = {"float32": 4, "bfloat16": 2}
ACTIVATIONS = {True: 1.2, False: 2.0}


@dataclass(frozen=True)
class Fit:
    """How the adapter is fitted."""

    base: str = "smollm2"
    rank: int = 8
    rate: float = 0.001
    epochs: int = 1
    batch: int = 8
    cases: int = 0
    dialogue_tokens: int = 160
    text_tokens: int = 48
    device: str = "cpu"
    dtype: str = "float32"
    gradient_checkpointing: bool = False
    checkpoint_steps: int = 10


@dataclass(frozen=True)
class Judge:
    """How it is judged."""

    cases: int = 0
    confidence: float = 0.95
    resamples: int = 1000


@dataclass(frozen=True)
class Notes:
    """The recipe."""

    name: str
    data: str
    seed: int = 7
    fit: Fit = field(default_factory=Fit)
    judge: Judge = field(default_factory=Judge)


RANGES: dict[str, tuple[float, float]] = {
    "fit.rank": (1, 1024),
    "fit.rate": (1e-7, 1.0),
    "fit.epochs": (1, 100),
    "fit.batch": (1, 4096),
    "fit.cases": (0, 10**9),
    "fit.dialogue_tokens": (8, 100_000),
    "fit.text_tokens": (4, 100_000),
    "fit.checkpoint_steps": (1, 10**6),
    "judge.cases": (0, 10**9),
    "judge.confidence": (0.5, 0.9999),
    "judge.resamples": (100, 100_000),
    "seed": (0, 2**31 - 1),
}
CHOICES = {"fit.device": ("cpu", "cuda"), "fit.dtype": tuple(BYTES)}


def read(path: Path) -> Notes:
    """Read a recipe.

    Raises:
        SpecError: it cannot be read, or a key is unknown, missing or out of its range.
    """
    try:
        told = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is no TOML: {error}.") from error
    found: Notes = read_table(Notes, told, str(path), Limits(RANGES, CHOICES))
    return found


def check_device(fit: Fit, base: Path) -> None:
    """Refuse what the fit could not end with, before anything is loaded.

    Raises:
        InputError: no GPU where one is asked for, one without bfloat16, or too little memory.
    """
    weights = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    stored = _stored_bytes(base)
    needed = weights / stored * BYTES[fit.dtype] * ACTIVATIONS[fit.gradient_checkpointing]
    if fit.device == "cpu":
        free = _free_memory()
        where = "this machine"
    else:
        if not cuda():
            raise InputError(
                'fit.device is "cuda", but torch sees no GPU here; use "cpu", or install torch '
                "with its CUDA libraries."
            )
        import torch  # noqa: PLC0415

        if fit.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
            raise InputError('fit.dtype is "bfloat16", which this GPU cannot; use "float32".')
        free, where = torch.cuda.mem_get_info()[0], "the GPU"
    if needed > free:
        hint = (
            "" if fit.gradient_checkpointing else "; fit.gradient_checkpointing = true needs less"
        )
        raise InputError(
            f"{base.name} in {fit.dtype} needs about {needed / 2**30:.1f} GiB to be fitted, but "
            f"{where} has {free / 2**30:.1f} GiB free{hint}."
        )


def _stored_bytes(base: Path) -> int:
    import json  # noqa: PLC0415

    config = json.loads((base / "config.json").read_text())
    kind = config.get("dtype") or config.get("torch_dtype") or "float32"
    return 4 if kind == "float32" else 2


def _free_memory() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return float(line.split()[1]) * 1024
    return float("inf")
