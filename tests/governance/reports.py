"""Shadow reports as a gateway would write them: every gate is judged from the counts."""

from typing import Any

from governance.policy import Policy
from governance.shadow import verdict
from governance.shadow.ends import Counts
from governance.shadow.gates import parse_policy
from governance.shadow.statement import Frame, predicate
from governance.shadow_report import ShadowReport
from tests.governance.signing import AUDIENCE, DAY, GATEWAY, MODEL, NOW, RULES, digest_of, policy

SEED = bytes(range(32))
SHADOW: dict[str, Any] = {
    "window_pairs": 100,
    "n_min": 500,
    "min_hours": 1,
    "caller_share": "1",
    "error_limit": "0.005",
}


def judging_policy(**changes: Any) -> Policy:
    """A policy whose class of risk says how a comparison is judged."""
    risk = {
        "rules": RULES,
        "approval_seconds": DAY,
        "break_glass_seconds": 3600,
        "shadow": SHADOW,
    }
    return policy(**({"risk_classes": {"high": risk}} | changes))


def counts(n: int = 2000, d: int = 1, good: int | None = None) -> Counts:
    """A comparison in which `d` of `n` decisions turned up."""
    windows = n // int(SHADOW["window_pairs"])
    return Counts(
        complete=n,
        disagreed=d,
        flips_up=d,
        shed=3,
        windows=windows,
        good_windows=windows if good is None else good,
        callers=4,
        top_caller=n // 3,
        labelled=n // 10,
        only_candidate_wrong=min(d, 1),
    )


def judged_report(
    by: Policy,
    candidate: str,
    incumbent: str,
    *,
    found: Counts | None = None,
    attempt: int = 1,
    started: int = NOW - 2 * DAY,
    ended: int = NOW - 3600,
    gateway: str = GATEWAY,
    seed: bytes = SEED,
) -> ShadowReport:
    """The report of a comparison that came to these counts."""
    found = found or counts()
    asked = by.risk_class(MODEL).shadow
    judged = verdict.judge(found, parse_policy(asked), attempt, started, ended)
    told = {
        "candidate": candidate,
        "incumbent": incumbent,
        "gateway": gateway,
        "attempt": attempt,
        "policy": asked,
        "started": started,
        "ended": ended,
        "counts": found.plain(),
        "reasons": [{"reason": r.slug, "sentence": r.sentence} for r in judged.reasons],
    }
    return predicate(told, judged, Frame(AUDIENCE, by.digest, seed, digest_of("samples")))
