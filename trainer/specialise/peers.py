"""Workers that fit one candidate together: each takes a part of every batch, gradients are summed.

    gradient = sum over workers of d/dw (1/n) * sum of the losses of the worker's part of the batch

where n is the whole batch, so that it is the gradient of the whole batch's mean loss, however the
parts are cut. Every worker does the same steps in the same order and ends with the same weights;
only what is random inside a step (dropout) differs from a fit by one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
# A worker that waits this long for another gives up: the group is started again from outside.
PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Peers:
    """This worker among those that fit together; one alone needs no address.

    Attributes:
        rank: this worker's number, from 0.
        count: how many there are.
        address: where the first of them listens, HOST:PORT.
    """

    rank: int = 0
    count: int = 1
    address: str = ""

    def part(self, rows: Rows) -> Rows:
        """The rows of a batch that this worker takes; none may be left for it."""
        return rows[self.rank :: self.count]

    def meet(self, device: str) -> None:
        """Wait for the others. Does nothing for one alone.

        Raises:
            RuntimeError: they do not come.
        """
        if self.count == 1:
            return
        import torch.distributed as together  # noqa: PLC0415

        together.init_process_group(
            "nccl" if device == "cuda" else "gloo",
            init_method=f"tcp://{self.address}",
            rank=self.rank,
            world_size=self.count,
            timeout=PATIENCE,
        )

    def total(self, values: Any) -> Any:
        """The sum of a tensor over all workers, in its place."""
        if self.count > 1:
            import torch.distributed as together  # noqa: PLC0415

            together.all_reduce(values)
        return values

    def sum_gradients(self, learning: Iterable[Any]) -> None:
        """Replace each weight's gradient by the sum over all workers, in one message."""
        if self.count == 1:
            return
        import torch  # noqa: PLC0415

        weights = list(learning)
        for weight in weights:
            # A worker without a row of this batch has no gradient.
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        whole = self.total(torch.cat([weight.grad.flatten() for weight in weights]))
        at = 0
        for weight in weights:
            weight.grad.copy_(whole[at : at + weight.numel()].view_as(weight))
            at += weight.numel()


ALONE = Peers()
