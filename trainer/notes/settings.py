"""What a decoder is fitted with, and whether there is room for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from trainer.cuda import cuda
from trainer.errors import InputError, SpecError
from trainer.specialise.methods import Parameters

# Bytes a weight as it lies on the device (weights learn nothing themselves, so they have no
# gradients), and what activations take beside them with and without checkpointing.
BYTES = {"float32": 4, "bfloat16": 2}
ACTIVATIONS = {True: 1.2, False: 2.0}
LEAST = {
    "rank": 1,
    "rate": 1e-9,
    "epochs": 1,
    "batch": 1,
    "max_tokens": 8,
    "text_tokens": 4,
    "checkpoint_steps": 1,
}


@dataclass(frozen=True)
class Fit:
    """How an adapter is fitted.

    Attributes:
        rank, rate, epochs, batch: of LoRA and its steps.
        max_tokens, text_tokens: the first so many of a dialogue and of a text.
        header_weight: of the headers' mean loss; the texts' has the rest.
        device: "cpu" or "cuda".
        bf16: whether weights lie in bfloat16; the adapter's stay float32.
        checkpointing: layers are computed again on the way back, for less memory.
        checkpoint_steps: where the fit is, is kept each so many steps.
    """

    rank: int = 8
    rate: float = 0.002
    epochs: int = 1
    batch: int = 8
    max_tokens: int = 160
    text_tokens: int = 24
    header_weight: float = 0.5
    device: str = "cpu"
    bf16: bool = False
    checkpointing: bool = False
    checkpoint_steps: int = 10

    @property
    def dtype(self) -> str:
        """The weights' type, by torch's name."""
        return "bfloat16" if self.bf16 else "float32"


def fit_of(p: Parameters, device: str) -> Fit:
    """A method's parameters, typed.

    Raises:
        SpecError: one is smaller than makes sense, or no share.
    """
    for name, least in LEAST.items():
        if p[name] < least:
            raise SpecError(
                f"specialise.parameters.{name} is {p[name]:g}, but must be at least {least:g}."
            )
    if not 0 <= p["header_weight"] <= 1:
        raise SpecError(
            f"specialise.parameters.header_weight is {p['header_weight']:g}, but must be 0 to 1."
        )
    return Fit(
        rank=int(p["rank"]),
        rate=p["rate"],
        epochs=int(p["epochs"]),
        batch=int(p["batch"]),
        max_tokens=int(p["max_tokens"]),
        text_tokens=int(p["text_tokens"]),
        header_weight=p["header_weight"],
        device=device,
        bf16=bool(p["bf16"]),
        checkpointing=bool(p["checkpointing"]),
        checkpoint_steps=int(p["checkpoint_steps"]),
    )


def check(base: str, device: str, parameters: Parameters) -> None:
    """Refuse what a fit could not end with. Raises SpecError, InputError."""
    if not base:
        raise InputError("This method needs specialise.base: a folder with a decoder.")
    check_device(fit_of(parameters, device), Path(base))


def check_device(fit: Fit, base: Path) -> None:
    """Refuse what the fit could not end with, before anything is loaded.

    Raises:
        InputError: no GPU where one is asked for, one without bfloat16, or too little memory.
    """
    weights = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    stored = _stored_bytes(base)
    needed = weights / stored * BYTES[fit.dtype] * ACTIVATIONS[fit.checkpointing]
    if fit.device == "cpu":
        free = _free_memory()
        where = "this machine"
    else:
        if not cuda():
            raise InputError(
                'specialise.device is "cuda", but torch sees no GPU here; use "cpu", or install '
                "torch with its CUDA libraries."
            )
        import torch  # noqa: PLC0415

        if fit.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
            raise InputError(
                "specialise.parameters.bf16 is 1, but this GPU has no bfloat16; use 0."
            )
        free, where = torch.cuda.mem_get_info()[0], "the GPU"
    if needed > free:
        hint = "" if fit.checkpointing else "; specialise.parameters.checkpointing = 1 needs less"
        raise InputError(
            f"{base.name} in {fit.dtype} needs about {needed / 2**30:.1f} GiB to be fitted, but "
            f"{where} has {free / 2**30:.1f} GiB free{hint}."
        )


def _stored_bytes(base: Path) -> int:
    config = json.loads((base / "config.json").read_text())
    kind = config.get("dtype") or config.get("torch_dtype") or "float32"
    return 4 if kind == "float32" else 2


def _free_memory() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return float(line.split()[1]) * 1024
    return float("inf")
