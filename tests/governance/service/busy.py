"""A service that promotes and rolls back without end: `python -m tests.governance.service.busy`.

After each act it writes the ledger's size on standard output: from then on the entry must stay.
"""

import sys
from itertools import cycle
from pathlib import Path

from governance.service.repository import digest_of
from tests.governance.service.killed import stage_at


def main(folder: str) -> None:
    stage = stage_at(Path(folder))
    # Nonces of an earlier process must not come again.
    stage.clock += 120 * (1 + stage.authority.ledger.reader.size)
    for model in stage.rollback.owed():
        stage.rollback.settle(model)
    stage.promotion.settle(stage.model)
    candidates = [digest_of(stage.models / stage.model / str(n)) for n in (2, 3)]
    for candidate in cycle(candidates):
        stage.clock += 1
        live = str(stage.authority.state(stage.model).incumbent)
        if live in candidates:
            stage.rollback.roll_back(stage.model, [stage.approval("rollback", live, "olga")])
        else:
            stage.promotion.promote(stage.model, candidate, [stage.glass(candidate, "sam", "olga")])
        sys.stdout.write(f"{stage.authority.ledger.reader.size}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
