"""Whether there is a GPU to fit on."""

from __future__ import annotations

import importlib.util


def cuda() -> bool:
    """Whether torch sees a GPU."""
    if importlib.util.find_spec("torch") is None:
        return False
    import torch  # noqa: PLC0415

    return bool(torch.cuda.is_available())
