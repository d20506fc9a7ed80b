"""The steps of a fit by gradients: the same ones however often it is broken off.

Each step sets the random generator from seed and number, so a fit that goes on from its checkpoint
ends as one that was never broken off. Warm-up over a twentieth of the steps, then straight to 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.errors import TrainError
from trainer.specialise.peers import ALONE, Peers

CHECKPOINT = "at.pt"


@dataclass(frozen=True)
class Way:
    """How far it is, and what it goes by.

    Attributes:
        steps: how many.
        seed: of what is random inside a step.
        device: "cpu" or "cuda".
        peers: this worker among those that fit together.
        checkpoint: where the fit keeps where it is; None for nowhere.
        every: so many steps.
    """

    steps: int
    seed: int
    device: str
    peers: Peers = ALONE
    checkpoint: Path | None = None
    every: int = 50


def walk(
    model: Any,
    optimiser: Any,
    way: Way,
    loss_of: Callable[[int], Any],
    done: Callable[[int], None] | None = None,
) -> None:
    """Fit what of the model learns, from the last checkpoint if there is one.

    Args:
        model: a torch module.
        optimiser: of its weights.
        way: the steps.
        loss_of: this worker's part of a step's loss; None if nothing of the batch is its own.
        done: is told the number of each step when it is over.

    Raises:
        TrainError: the loss is not finite any more.
    """
    import torch  # noqa: PLC0415

    total, peers, kept = way.steps, way.peers, way.checkpoint
    learning = [w for w in model.parameters() if w.requires_grad]
    warm = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, (total - s) / max(total - warm, 1))
    )
    begin = resume(kept, model, optimiser, schedule)
    if kept is not None and peers.rank == 0:
        with kept.with_suffix(".starts").open("a") as starts:
            starts.write(f"{begin} of {total}\n")
    model.train()
    for number in range(begin, total):
        torch.manual_seed(way.seed * 1_000_003 + number + 7_919 * peers.rank)
        loss = loss_of(number)
        told = torch.zeros((), device=way.device) if loss is None else loss.detach().clone()
        # All workers see the same sum, so all of them end here or none.
        if not torch.isfinite(peers.total(told)):
            raise TrainError(f"The fit diverged: the loss of step {number} is not finite.")
        if loss is not None:
            loss.backward()
        peers.sum_gradients(learning)
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        if kept is not None and peers.rank == 0 and (number + 1) % way.every == 0:
            keep(kept, model, optimiser, schedule, number + 1)
        if done is not None:
            done(number)


def keep(path: Path, model: Any, optimiser: Any, schedule: Any, step: int) -> None:
    """Write down what was learnt and where the fit is, whole or not at all."""
    import torch  # noqa: PLC0415

    learnt = {n: w for n, w in model.named_parameters() if w.requires_grad}
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "learnt": {name: w.detach().cpu() for name, w in learnt.items()},
            "optimiser": optimiser.state_dict(),
            "schedule": schedule.state_dict(),
        },
        partial,
    )
    partial.replace(path)


def resume(path: Path | None, model: Any, optimiser: Any, schedule: Any) -> int:
    """The step to go on from: that of the checkpoint, 0 if there is none that can be read."""
    import torch  # noqa: PLC0415

    if path is None or not path.exists():
        return 0
    try:
        held = torch.load(path, weights_only=True)
    except Exception:
        # What a dying disk left is worth nothing: the fit begins anew.
        return 0
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in held["learnt"].items():
            own[name].copy_(value)
    optimiser.load_state_dict(held["optimiser"])
    schedule.load_state_dict(held["schedule"])
    return int(held["step"])
