"""A service that ends by SIGKILL at a step: `python -m tests.governance.service.killed`.

Takes a folder in which everything is made, what to do, and the step to end at.
"""

import os
import signal
import sys
from pathlib import Path

from governance.dsse import Envelope
from tests.governance.service.double import FileDataPlane
from tests.governance.service.stage import Stage, short_policy


def stage_at(folder: Path, step: str = "") -> Stage:
    """The stage of a folder; at a step the process is gone."""

    def told(at: str) -> None:
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    models = folder / "models"
    plane = FileDataPlane(folder / "plane.json", models)
    made = Stage(folder, plane, models, short_policy(), step=told)
    made.clock += 60
    return made


def main(folder: str, act: str, candidate: str, step: str) -> None:
    stage = stage_at(Path(folder), step)
    if act == "count":
        stage.shadowing.tick()
        os.kill(os.getpid(), signal.SIGKILL)
    approval = Envelope.from_json((stage.folder / "approval.json").read_bytes())
    if act == "promote":
        stage.promotion.promote(stage.model, candidate, [approval])
    else:
        stage.rollback.roll_back(stage.model, [approval])


if __name__ == "__main__":
    main(*sys.argv[1:])
