"""Attacks on a promotion while it goes on: its ledger fills up, or may be written no more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from governance.errors import GovernanceError
from governance.ledger.errors import LedgerUnavailableError
from governance.ledger.verify import verify
from governance.ledger.witness import FileWitness
from governance.service.promotion import Promotion
from tests.governance.service.conftest import digests, passed, stage
from tests.governance.service.stage import Stage

__all__ = ["digests", "passed", "stage"]

ROOM = 100_000


def fill(found: Stage) -> None:
    """Leave no page, and no room on the last one."""
    ledger = found.authority.ledger
    (pages,) = ledger.reader.connection.execute("PRAGMA page_count").fetchone()
    ledger.reader.connection.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(LedgerUnavailableError) as refused:
        for number in range(400):
            body = b'{"at":%d,"count":1,"method":"status","reason":"role_denied"}' % number
            ledger.append("denied", body, "sha256:" + f"{number:064x}")
    assert refused.value.reason == "disk_full"


def write_protect(found: Stage) -> None:
    found.authority.ledger.reader.connection.execute("PRAGMA query_only=ON")


def mend(found: Stage) -> None:
    connection = found.authority.ledger.reader.connection
    connection.execute("PRAGMA query_only=OFF")
    connection.execute(f"PRAGMA max_page_count={ROOM}")


@pytest.mark.parametrize("step", ["intent", "intended", "kept", "recorded", "swapped", "served"])
@pytest.mark.parametrize(("act", "reason"), [(fill, "disk_full"), (write_protect, "read_only")])
def test_a_ledger_that_takes_no_more_at_any_step_leaves_the_old_model_live(
    stage: Stage,
    passed: list[str],
    act: Callable[[Stage], None],
    reason: str,
    step: str,
) -> None:
    def at(now: str) -> None:
        if now == step:
            act(stage)

    approval = stage.approval("promote", passed[1], "dora", "greta")
    with pytest.raises(GovernanceError) as refused:
        Promotion(stage.authority, at).promote(stage.model, passed[1], [approval])
    assert refused.value.reason == reason
    assert stage.live() == (passed[0],) * 3
    mend(stage)
    stage.promotion.settle(stage.model)
    assert stage.live() == (passed[0],) * 3
    assert stage.authority.state(stage.model).intent is None
    seen = FileWitness(Path(stage.folder) / "witness.jsonl", stage.log_key).heads()
    assert verify(stage.home.ledger, stage.log_key, seen).sound
