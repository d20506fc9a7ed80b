"""Policies and ends of pairs that tests share."""

from collections.abc import Iterable
from typing import Any

from governance.shadow.ends import Answer, End
from governance.shadow.report import Comparison
from tests.governance.ledgers import digest

START = 1_800_000_000
DAY = 24 * 3600
LATER = START + DAY
# Small windows, so that ten of them are few pairs.
POLICY: dict[str, Any] = {"window_pairs": 100, "caller_share": "1", "error_limit": "0.005"}


def comparison(attempt: int = 1, **changed: Any) -> Comparison:
    candidate, incumbent, gateway = map(digest, ("candidate", "incumbent", "gateway"))
    return Comparison({**POLICY, **changed}, candidate, incumbent, gateway, attempt, START)


def complete(
    same: bool = True,
    score: float | None = 0.2,
    slower: float = 1.0,
    caller: str = "c",
    segment: str | None = None,
) -> End:
    one = Answer(0, 0.2, 100_000, "16")
    other = Answer(0 if same else 1, score, int(100_000 * slower), "16")
    return End("complete", caller, segment, one, other)


def broken(kind: Any, caller: str = "c") -> End:
    incumbent = None if kind in ("shed", "incumbent_error") else Answer(0, 0.2, 100_000, "16")
    return End(kind, caller, None, incumbent)


def fed(ends: Iterable[End], **changed: Any) -> Comparison:
    run = comparison(**changed)
    for end in ends:
        run.add(end)
    return run


def slugs(run: Comparison, now: int = LATER) -> set[str]:
    return {reason.slug for reason in run.judge(now).reasons}
