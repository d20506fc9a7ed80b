"""One statement of each kind that holds, with every optional field there."""

from governance.attestations import (
    BuildDefinition,
    Builder,
    BuildMetadata,
    DigestSet,
    Evaluation,
    Provenance,
    Resource,
    RunDetails,
)
from governance.predicates import BreakGlass, Deployment, Predicate, Revocation
from governance.statements import Statement
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    policy,
    report,
    signer,
)

POLICY = policy()
DATA = Resource(
    "transactions 2026-Q1",
    DigestSet(digest_of("data")[7:]),
    "https://data.example/q1",
    {"rows": "120000"},
)


def deployment() -> Deployment:
    return Deployment(
        candidate=CANDIDATE,
        previous=INCUMBENT,
        audience=AUDIENCE,
        gateway=GATEWAY,
        effective=NOW,
        policy=POLICY.digest,
        action="promote",
        approvals=(digest_of("approval"),),
        approvers=(signer("dora").public_key.hex(), signer("greta").public_key.hex()),
        ledger_index=14,
    )


def break_glass() -> BreakGlass:
    return BreakGlass(
        action="promote",
        candidate=CANDIDATE,
        incumbent=INCUMBENT,
        justification="the live model lets every transaction through",
        policy=POLICY.digest,
        audience=AUDIENCE,
        not_before=NOW - 60,
        expires=NOW + 600,
        nonce=digest_of("break")[7:39],
    )


def revocation(what: str = "model", target: str = CANDIDATE) -> Revocation:
    assert what in ("key", "approval", "dataset", "model")
    return Revocation(
        what=what,  # type: ignore[arg-type]
        target=target,
        reason="trained on the wrong labels",
        since=NOW - 600,
        audience=AUDIENCE,
        issued=NOW - 60,
    )


def provenance() -> Provenance:
    return Provenance(
        BuildDefinition(
            "https://sluicegate.example/trainer/v1",
            {"seed": 7, "learning_rate": "0.001"},
            (DATA,),
            {"host": "a"},
        ),
        RunDetails(
            Builder("https://sluicegate.example/trainer"),
            BuildMetadata("run-17", "2027-01-14T08:00:00Z", "2027-01-14T09:30:00Z"),
            (DATA,),
        ),
    )


def evaluation() -> Evaluation:
    return Evaluation(
        "PASSED", (DATA,), ("core",), ("held-out",), ("none",), "https://results.example/17"
    )


def statements() -> dict[str, Statement[Predicate]]:
    """By the names of `governance.statements.KINDS`."""
    predicates: dict[str, Predicate] = {
        "approval": approval(POLICY),
        "break-glass": break_glass(),
        "deployment": deployment(),
        "evaluation": evaluation(),
        "provenance": provenance(),
        "revocation": revocation(),
        "shadow-report": report(POLICY),
    }
    return {name: Statement(MODEL, CANDIDATE, found) for name, found in predicates.items()}
