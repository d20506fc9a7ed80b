"""The whole evidence of a candidate, as tests need it: every group filled, every statement signed.

The steps are those of a real candidate: groups first, then what is signed about them, then
approvals that name the bundle's digest, then how it went live.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from governance import canonical, shape
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
from governance.bundle import folder
from governance.bundle.folder import Bundle
from governance.bundle.groups import (
    Approvals,
    Artefact,
    Balance,
    Baseline,
    Change,
    DataSet,
    Drill,
    Evaluated,
    Execution,
    Explanation,
    FailureCluster,
    Group,
    Identity,
    Lineage,
    Metric,
    Post,
    Purpose,
    Regressions,
    RemainingRisk,
    Risk,
    Rollback,
    SegmentMetric,
    Shadowed,
    Trigger,
)
from governance.bundle.measure import cost, read_run
from governance.bundle.measured import Serving
from governance.dsse import Envelope
from governance.predicates import Deployment, Predicate
from governance.shadow_report import ShadowReport
from governance.statements import Statement
from tests.governance.reports import judged_report, judging_policy
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    DAY,
    GATEWAY,
    INCUMBENT,
    MODEL,
    NOW,
    approval,
    digest_of,
    signed_policy,
    signer,
)

POLICY = judging_policy()
CHAIN = [signed_policy(POLICY, "rita", "rolf")]
PIN = POLICY.digest
TRAINING, HELD_OUT, CODE = (digest_of(name) for name in ("training", "held out", "code"))


def load_report(p50: float, decisions_per_s: float, rate: float | None = 3000.0) -> bytes:
    """A report as sluicegate-loadgen writes it."""
    bounds = [round(p50 * 10 ** (step / 10), 3) for step in range(-5, 8)]
    shares = [1, 3, 9, 20, 38, 60, 41, 22, 11, 5, 2, 1, 1]
    told = {
        "tool": "sluicegate-loadgen",
        "mode": "closed" if rate is None else "open",
        "rate": rate,
        "connections": 4,
        "rows": 1,
        "deadline_us": 10_000,
        "duration_s": 30.0,
        "sent": 90_000,
        "ok": 89_998,
        "late": 2,
        "decisions_per_s": decisions_per_s,
        "latency_us": {
            "count": 89_998,
            "mean": p50 * 1.1,
            "p50": p50,
            "p90": p50 * 1.5,
            "p99": p50 * 2.25,
            "p999": p50 * 4.125,
            "p9999": None,
            "max": p50 * 9,
        },
        "histogram_us": [[bound, 420 * n] for bound, n in zip(bounds, shares, strict=True)],
    }
    return json.dumps(told).encode()


MEASUREMENTS = {
    "measurements/candidate.json": load_report(81.25, 2999.9),
    "measurements/incumbent.json": load_report(78.5, 3000.2),
    "measurements/capacity.json": load_report(437.0, 140_250.5, rate=None),
}


def serving() -> Serving:
    runs = {
        name: read_run(data, name, INCUMBENT if "incumbent" in name else CANDIDATE)
        for name, data in MEASUREMENTS.items()
    }
    capacity = runs["measurements/capacity.json"]
    return Serving(
        machine="AMD EPYC (Zen 4), 2 virtual cores",
        server_cores="1",
        generator_cores="1",
        batch="as many rows as wait, no wait for more",
        candidate=runs["measurements/candidate.json"],
        incumbent=runs["measurements/incumbent.json"],
        capacity=capacity,
        cost=cost(capacity, "0.042", "1", "EUR"),
    )


def metric(name: str, value: str, low: str, high: str, **changes: Any) -> Metric:
    return replace(Metric(name, value, low, high, 4000, "more", HELD_OUT), **changes)


def evaluated() -> Evaluated:
    return Evaluated(
        run="run-17",
        metrics=(
            metric("core AUC", "0.9412", "0.9305", "0.9519", threshold="0.92"),
            metric("held-out AUC", "0.9368", "0.9241", "0.9495", threshold="0.92"),
            metric("missed fraud", "0.031", "0.024", "0.038", threshold="0.05", better="less"),
            metric("accuracy", "0.982", "0.979", "0.985"),
        ),
        segments=(
            SegmentMetric("new customers", "held-out AUC", "0.921", "0.893", "0.949", 800),
            SegmentMetric("abroad", "held-out AUC", "0.917", "0.871", "0.963", 310),
        ),
        calibration=metric("Brier score", "0.0214", "0.0192", "0.0236", better="less"),
        baselines=(
            Baseline("the model before", "held-out AUC", "0.9281", 4000),
            Baseline("logistic regression", "held-out AUC", "0.8875", 4000),
        ),
        balance=Balance(900, 2400, 400, 300),
        regressions=Regressions(4000, 2, 4, ("case 118", "case 2207")),
        known_limits=("Card-not-present payments under 2 EUR were not in the data.",),
        held_out_looks=3,
    )


def groups() -> dict[str, Group]:
    """Every group that is known before somebody approves."""
    return {
        "identity": Identity(
            MODEL,
            CANDIDATE,
            8,
            "onnxruntime",
            Artefact("ONNX Runtime 1.31.0", digest_of("libonnxruntime")),
            (Artefact("model.onnx", digest_of("weights")),),
            digest_of("contract"),
        ),
        "purpose": Purpose(
            "Scores card payments at authorisation; a score of 0.5 or more asks for a second step.",
            "Not for credit decisions, nor for closing accounts.",
            "high",
            ("EU",),
            "payments-risk",
            "model-validation",
            False,
        ),
        "risk": Risk(
            (
                FailureCluster(
                    "night transfers",
                    "Large transfers between 02:00 and 04:00 to new payees are scored too low.",
                    14,
                    60,
                    "medium",
                ),
            ),
            (
                RemainingRisk(
                    "A wave of a new kind of fraud would be seen a day late.",
                    "medium",
                    "Drift alarm on the score's distribution; the rules engine stays in front.",
                    "head of payments",
                ),
            ),
        ),
        "serving": serving(),
        "explanation": Explanation(
            digest_of("reason codes"), "shapley values", "0.46", "0.97", "0.93", 4, 4000
        ),
        "approval": Approvals(dissent=(), conflicts="Nobody who signs had a part in making it."),
        "change": Change(
            "The new model asks for a second step on fewer payments of returning customers.",
            "The model before missed 4.4% of fraud after the change of terminals in March.",
            ("trained on payments up to June", "two features of the terminal are new"),
            INCUMBENT,
            False,
            True,
            "RISK-2417",
            NOW - DAY,
            NOW + DAY,
        ),
        "rollback": Rollback(
            INCUMBENT,
            True,
            (Trigger("share of second steps", "above 4%", 600),),
            "payments on-call",
            "The previous model stays resident; `sluicegate rollback` swaps within 100 ms.",
            Drill(NOW - 5 * DAY, 38, 0, "payments on-call"),
        ),
        "post": Post("Weekly on labels as they come in.", NOW + 90 * DAY, (), ()),
    }


def provenance() -> Provenance:
    def used(name: str, digest: str) -> Resource:
        return Resource(name, DigestSet(digest[7:]))

    return Provenance(
        BuildDefinition(
            "https://sluicegate.example/trainer/v1",
            {"seed": 7},
            (used("payments to June", TRAINING), used("trainer", CODE)),
        ),
        RunDetails(Builder("https://sluicegate.example/trainer"), BuildMetadata("run-17")),
    )


def lineage(statement: str) -> Lineage:
    def data(name: str, digest: str, used_for: Any) -> DataSet:
        begins, ends = NOW - 300 * DAY, NOW - 30 * DAY
        return DataSet(name, digest, 120_000, begins, ends, "contract", "pseudonymous", used_for)

    return Lineage(
        statement,
        (
            data("payments to June", TRAINING, "training"),
            data("sealed payments", HELD_OUT, "held_out"),
        ),
        "features-12",
        Artefact("trainer", CODE),
        True,
        digest_of("lock file"),
        digest_of("container"),
        "gradient-boosted trees",
        {"trees": "400", "learning_rate": "0.05"},
        (7, 11),
    )


def evaluation(table: Evaluated, result: Any = "PASSED", **changes: Any) -> Evaluation:
    digest = canonical.digest(canonical.encode(shape.write(table)))
    named = {"table of figures": digest, "sealed payments": HELD_OUT}
    used = tuple(Resource(name, DigestSet(found[7:])) for name, found in named.items())
    return replace(Evaluation(result, used), **changes)


def about(predicate: Predicate, *names: str) -> Envelope:
    """A statement about the candidate, signed by some people or services."""
    statement = Statement(MODEL, CANDIDATE, predicate)
    return statement.envelope(*(signer(name) for name in names))


def report(**changes: Any) -> ShadowReport:
    return judged_report(POLICY, CANDIDATE, INCUMBENT, **changes)


def before_approval(root: Path, compared: ShadowReport | None = None) -> Bundle:
    """A bundle that has everything but approvals and what comes after them."""
    folder.create(root, MODEL, CANDIDATE)
    made, table = about(provenance(), "tom"), evaluated()
    shadowed = about(compared or report(), GATEWAY)
    documents = groups() | {
        "lineage": lineage(made.digest),
        "evaluation": table,
        "shadow": Shadowed(shadowed.digest, "one pair in each block of 200 ms, chosen by a key"),
    }
    signed = [made, about(evaluation(table), "audrey"), shadowed]
    folder.add(root, {name: documents[name] for name in ("identity", "purpose")})
    return folder.add(root, documents, signed, MEASUREMENTS)


def approve(root: Path, *names: str, **changes: Any) -> Bundle:
    """Add an approval to promote, of the bundle as it is now, signed by some people."""
    held = folder.open_bundle(root)
    compared = next(envelope for envelope, _ in held.of(ShadowReport))
    said = {"shadow_report": compared.digest, "evidence": held.digest} | changes
    return folder.add(root, statements=[about(approval(POLICY, **said), *names)])


def deployed(root: Path) -> Bundle:
    """Add what is known once it is live, and the approval's digest."""
    held = folder.open_bundle(root)
    approvals = tuple(
        digest
        for digest, signed in held.statements.items()
        if signed.statement.predicate.TYPE == "urn:sluicegate:approval:v1"
    )
    live = Deployment(
        candidate=CANDIDATE,
        previous=INCUMBENT,
        audience=AUDIENCE,
        gateway=GATEWAY,
        effective=NOW,
        policy=POLICY.digest,
        action="promote",
        approvals=approvals,
        approvers=tuple(signer(name).public_key.hex() for name in ("dora", "greta")),
        ledger_index=14,
    )
    envelope = about(live, GATEWAY)
    execution = Execution(
        14, 15, envelope.digest, GATEWAY, digest_of("build"), "chrony, 2 ms", NOW, "req-1"
    )
    documents: dict[str, Group] = {
        "execution": execution,
        "approval": replace(held.group(Approvals), statements=approvals),
    }
    return folder.add(root, documents, [envelope])


def complete(root: Path) -> Bundle:
    """A bundle from its beginning to a model that is live."""
    before_approval(root)
    approve(root, "dora", "greta")
    return deployed(root)
