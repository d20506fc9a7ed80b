"""Runs the loop for a person who watches: phase, trial, score against threshold, time left."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from governance.signer import Signer
from trainer.errors import SpecError
from trainer.evaluation import lock as locks
from trainer.loop import prepare
from trainer.loop.engine import Ended, Loop
from trainer.loop.fit import locally, on_ray
from trainer.loop.ledger import Ledger, alone
from trainer.loop.phases import Desk
from trainer.loop.prepare import Folder
from trainer.loop.store import Store
from trainer.propose.candidate import Signing
from trainer.recipes.blocks import by_ray_data
from trainer.spec.spec import Spec


def folder_of(spec: Spec, runs: Path | None, seals: Path) -> Folder:
    """Where a specialist's runs live."""
    return Folder(runs or spec.path("runs") / spec.name, seals)


class Progress:
    """What is going on, on one line of standard error; what was done, above it."""

    def __init__(self, spec: Spec) -> None:
        self._console = Console(stderr=True)
        self._status = Status("", console=self._console)
        self._spec = spec
        self._begun = time.monotonic()

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        """Tell what is done now; a sentence with a colon is what was done."""
        first = self._spec.first_metric
        asked = next((g.limit for g in self._spec.evaluate.gates if g.metric == first), None)
        wanted = f", {first} {asked:g} wanted" if asked is not None else ""
        left = max(0.0, self._spec.stop.seconds - (time.monotonic() - self._begun))
        if ": " in text:
            self._console.print(f"[green]✓[/] {escape(text)}", highlight=False)
        self._status.update(f"{escape(text)}{wanted}, at most {left:,.0f} s left")


def follow(
    spec: Spec,
    signer: Signer,
    runs: Path | None,
    seals: Path,
    progress: Progress | None = None,
    *,
    ray: bool,
    address: str | None = None,
) -> Ended:
    """Run the loop to its end.

    Raises:
        SpecError: several workers are asked for without Ray.
        TrainError: it cannot begin, or a phase cannot be done.
    """
    folder = folder_of(spec, runs, seals)
    if spec.specialise.workers > 1 and not ray:
        raise SpecError(
            f"specialise.workers is {spec.specialise.workers}: without Ray there is one worker."
        )
    base = prepare.check_means(spec, folder.root)
    locked = locks.check(folder.lock, spec, signer.public_key)
    with ExitStack() as stack:
        stack.enter_context(alone(folder.root))
        ledger = Ledger(folder.ledger)
        stack.callback(ledger.close)
        desk = Desk(
            spec, folder, Store(folder.objects, base), progress.say if progress else _silent
        )
        loop = Loop(
            desk=desk,
            ledger=ledger,
            fit=locally,
            signing=Signing(signer),
            locked=locked,
            version=prepare.version_of(folder),
            base=base,
        )
        if ray:
            loop.fit = stack.enter_context(on_ray(address))
            loop.blocks = by_ray_data
        return loop.go()


def _silent(_text: str) -> None:
    """Nobody watches."""
