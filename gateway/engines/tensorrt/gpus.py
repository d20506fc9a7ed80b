"""Compute capabilities of GPUs by their names, for plans that are built on other machines."""

import re

from gateway.engines.contract import EngineError

# NVIDIA's public list of CUDA GPUs and their compute capabilities.
CAPABILITIES = {
    "T4": "7.5",
    "RTX 2080 Ti": "7.5",
    "A100": "8.0",
    "A30": "8.0",
    "A2": "8.6",
    "A10": "8.6",
    "A16": "8.6",
    "A40": "8.6",
    "RTX A4000": "8.6",
    "RTX A5000": "8.6",
    "RTX A6000": "8.6",
    "RTX 3060": "8.6",
    "RTX 3070": "8.6",
    "RTX 3080": "8.6",
    "RTX 3090": "8.6",
    "L4": "8.9",
    "L40": "8.9",
    "L40S": "8.9",
    "RTX 6000 Ada": "8.9",
    "RTX 4060": "8.9",
    "RTX 4070": "8.9",
    "RTX 4080": "8.9",
    "RTX 4090": "8.9",
    "H100": "9.0",
    "H200": "9.0",
    "B200": "10.0",
    "RTX 5070": "12.0",
    "RTX 5080": "12.0",
    "RTX 5090": "12.0",
}


def capability(said: str) -> str:
    """The compute capability of a GPU's name, or of `8.9`, `sm89` and the like.

    Raises:
        EngineError: it is neither.

    """
    plain = " ".join(said.split()).lower().removeprefix("nvidia ").removeprefix("geforce ")
    if found := re.fullmatch(r"(?:sm_?)?(\d{1,2})\.?(\d)", plain):
        return f"{found[1]}.{found[2]}"
    for name, known in CAPABILITIES.items():
        if name.lower() == plain:
            return known
    raise EngineError(
        f"'{said}' is no GPU that is known here: say its compute capability, as in 8.9, or one of "
        f"{', '.join(CAPABILITIES)}"
    )
