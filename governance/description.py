"""Statements in plain words, for the people who sign and read them."""

import time
from collections.abc import Iterator

from governance.policy import Policy
from governance.predicates import Approval, BreakGlass, Deployment, Predicate, Revocation
from governance.shadow_report import ShadowReport
from governance.statements import Statement


def plain(text: str) -> str:
    """Text that a terminal shows as it is: what steers terminals or turns text round is spelt out.

    A comment must not be able to paint over the lines that a signer decides by.
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def moment(seconds: int) -> str:
    """A time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def describe(statement: Statement[Predicate]) -> list[tuple[str, str]]:
    """What a statement says, as names and values for a person to read."""
    said = statement.predicate
    lines = [("model", statement.name), ("digest", statement.digest)]
    if isinstance(said, Approval):
        lines += _approval(said)
    elif isinstance(said, BreakGlass):
        lines += _break_glass(said)
    elif isinstance(said, ShadowReport):
        lines += report_lines(said)
    elif isinstance(said, Deployment):
        lines += [
            ("live since", moment(said.effective)),
            ("in place of", said.previous or "nothing"),
            ("gateway", f"{said.gateway} of '{said.audience}'"),
            ("because of", ", ".join(said.approvals)),
        ]
    elif isinstance(said, Revocation):
        lines = [
            ("revoked", f"{said.what} {said.target}"),
            ("model", statement.name if said.what == "model" else "all that depend on it"),
            ("since", moment(said.since)),
            ("reason", said.reason),
        ]
    return [(name, plain(value)) for name, value in lines]


def report_lines(said: ShadowReport) -> Iterator[tuple[str, str]]:
    """A shadow report's verdict with its counts."""
    yield "verdict", f"{said.verdict}: {said.d} of {said.n} decisions differ (d of n)"
    for gate in said.gates:
        yield (
            "gate",
            f"{gate.name}: {gate.state}, {gate.d} of {gate.n}, limit {gate.limit}, "
            f"log10 e {gate.log10_e}",
        )
    ends = said.ends
    yield (
        "pairs",
        f"{ends.complete} complete, {ends.candidate_error} candidate errors, "
        f"{ends.candidate_timeout} candidate time-outs, {ends.shed} shed, "
        f"{ends.incumbent_error} incumbent errors",
    )
    yield "compared", f"{moment(said.started)} to {moment(said.ended)}, attempt {said.attempt}"
    for reason in said.reasons:
        yield "because", plain(reason)


def roles_of(public: bytes, policy: Policy) -> str:
    """Whose key it is, and in which roles."""
    key = policy.by_public.get(public)
    return f"{key.person} ({', '.join(key.roles)})" if key is not None else public.hex()


def _approval(said: Approval) -> Iterator[tuple[str, str]]:
    yield "decision", f"{said.decision.upper()} to {said.action}"
    yield "in place of", said.incumbent or "nothing: no model is live"
    yield "report", said.shadow_report or "none"
    yield "evidence", said.evidence or "none"
    yield "policy", f"version {said.policy_version}, {said.policy}"
    yield "fleet", said.audience
    yield "valid", f"{moment(said.not_before)} to {moment(said.expires)}, once"
    if said.ledger is not None:
        yield "ledger seen", f"{said.ledger.size} entries, {said.ledger.root}"
    yield "comment", said.comment or "none"


def _break_glass(said: BreakGlass) -> Iterator[tuple[str, str]]:
    yield "decision", f"BREAK GLASS to {said.action}"
    yield "in place of", said.incumbent or "nothing: no model is live"
    yield "policy", said.policy
    yield "fleet", said.audience
    yield "valid", f"{moment(said.not_before)} to {moment(said.expires)}, once"
    yield "justification", said.justification
