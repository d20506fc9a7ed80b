"""The rarer entries of a ledger, each with its statements: what holds, and what is found."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from governance.audit.audit import audit
from governance.predicates import Approval, BreakGlass, Deployment, Predicate
from tests.governance.governed import ROLES, Governed, key_id, key_of
from tests.governance.reports import counts, judged_report
from tests.governance.signing import AUDIENCE, DAY, GATEWAY, MODEL, digest_of, signer

Signs = Callable[[Predicate, tuple[str, ...]], tuple[str, ...]]


class Rare(Governed):
    """A folder with entries that most folders never have."""

    def about(self, digest: str) -> dict[str, Any]:
        return {"model": MODEL, "candidate": digest}

    def first(self) -> str:
        digest = self.exported(1)
        self.promoted(digest, None, "dora", "greta")
        return digest

    def validated(self, digest: str, report: str) -> None:
        _, told = self.approved("validate", digest, "dora")
        self.log("validate", **self.about(digest), report=report, approvals=told)

    def reviewed(self, digest: str) -> None:
        _, told = self.approved("validate", digest, "dora", "greta")
        self.log("review", **self.about(digest), approvals=told)

    def refused(self, digest: str, who: str) -> None:
        said = Approval(
            action="promote",
            decision="refuse",
            candidate=digest,
            incumbent=None,
            shadow_report=None,
            evidence=digest_of("evidence"),
            policy=self.policy.digest,
            policy_version=1,
            audience=AUDIENCE,
            not_before=self.clock,
            expires=self.clock + 60,
            nonce="c" * 32,
            ledger=None,
            comment="not like this",
        )
        envelope = self.keep(said, who, about=digest)
        signers = [{"key": key_id(who), "role": ROLES[who]}]
        told = {"statement": envelope.digest, "nonce": said.nonce, "head": 0, "signers": signers}
        self.log("refuse", **self.about(digest), approvals=[told])

    def deprecated(self, digest: str) -> None:
        _, told = self.approved("deprecate", digest, "olga")
        self.log("deprecate", **self.about(digest), approvals=told)

    def glass_broken(self, digest: str, seconds: int = 600) -> None:
        said = BreakGlass(
            action="promote",
            candidate=digest,
            incumbent=self.incumbent,
            justification="the live model lets everything through",
            policy=self.policy.digest,
            audience=AUDIENCE,
            not_before=self.clock,
            expires=self.clock + 600,
            nonce="d" * 32,
        )
        envelope = self.keep(said, "sam", "olga", about=digest)
        signers = [{"key": key_id(who), "role": ROLES[who]} for who in ("sam", "olga")]
        told = {"statement": envelope.digest, "nonce": said.nonce, "head": 0, "signers": signers}
        before, at = self.incumbent, self.clock
        index = self.log(
            "break_glass",
            **self.about(digest),
            incumbent=before,
            justification=envelope.digest,
            expires=at + seconds,
            approvals=[told],
        )
        live = Deployment(
            candidate=digest,
            previous=before,
            audience=AUDIENCE,
            gateway=GATEWAY,
            effective=self.clock,
            policy=self.policy.digest,
            action="break_glass",
            approvals=(envelope.digest,),
            approvers=tuple(signer(who).public_key.hex() for who in ("sam", "olga")),
            ledger_index=index,
        )
        deployment = self.keep(live, GATEWAY, about=digest)
        self.log("promote_done", **self.about(digest), deployment=deployment.digest)
        # Its time is over before the folder is looked at: the model before is live again.
        self.log("break_glass_expired", **self.about(digest))

    def canary(self, digest: str, verdict: str) -> str:
        """A canary between intent and outcome; the report's digest."""
        self.log("canary", **self.about(digest), share="0.01")
        made = judged_report(
            self.policy,
            digest,
            str(self.incumbent),
            found=counts(d=1 if verdict == "PASS" else 60),
            started=self.clock - DAY // 4,
            ended=self.clock - 60,
        )
        report = self.keep(made, GATEWAY, about=digest)
        self.log("canary_result", **self.about(digest), report=report.digest, verdict=verdict)
        return report.digest

    def intended(self, digest: str, report: str) -> None:
        _, told = self.approved("promote", digest, "dora", "greta", report=report)
        known = self.recorder.registry.model(MODEL).candidates[digest]
        self.log(
            "promote_intent",
            **self.about(digest),
            incumbent=self.incumbent,
            report=report,
            bundle=known.bundle,
            policy=self.policy.digest,
            approvals=told,
        )


def reasons(made: Governed) -> dict[str, str]:
    """Each finding's reason by what it is about."""
    made.close()
    found = audit(made.home.root, made.pin, witnesses=[str(made.witness)], models=made.models)
    return {line.what.partition("(")[2].rstrip(")"): line.reason for line in found.checks.findings}


def instead(kind: type[Predicate], *names: str) -> Signs:
    return lambda said, given: names if isinstance(said, kind) else given


def test_a_first_model_is_validated_on_its_evidence(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    digest = made.first()
    bundle = made.recorder.registry.model(MODEL).candidates[digest].bundle
    made.validated(digest, str(bundle))
    assert reasons(made) == {}


def test_a_later_model_is_validated_on_its_comparison(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    second = made.exported(2)
    report = made.compared(second, counts())
    made.promoted(second, report, "dora", "greta")
    made.validated(second, report)
    assert reasons(made) == {}


def test_a_validation_on_a_report_that_is_not_there_is_found(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    digest = made.first()
    made.validated(digest, digest_of("no report"))
    assert reasons(made) == {"validate": "no_statement"}


def test_a_refusal_counts_if_the_person_signed_it(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.refused(made.exported(1), "greta")
    assert reasons(made) == {}


@pytest.mark.parametrize(
    ("names", "reason"),
    [(("dora",), "approvals_differ"), (("mallory",), "no_valid_signature"), ((), "unsigned")],
)
def test_a_refusal_in_somebody_elses_name_is_found(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    made = Rare(tmp_path / "g", signs=instead(Approval, *names))
    made.refused(made.exported(1), "greta")
    assert reasons(made) == {"refuse": reason}


def test_a_rollback_its_review_and_a_deprecation_hold(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    second = made.exported(2)
    made.promoted(second, made.compared(second, counts()), "dora", "greta")
    made.rolled_back(second)
    made.reviewed(second)
    made.deprecated(second)
    assert reasons(made) == {}


def test_a_broken_glass_holds_if_two_people_signed_it(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    made.glass_broken(made.exported(2))
    assert reasons(made) == {}


def test_a_glass_that_is_broken_longer_than_was_signed_is_found(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    made.glass_broken(made.exported(2), seconds=3000)
    assert reasons(made)["break_glass"] == "bad_expiry"


def test_a_glass_that_one_person_broke_is_found(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g", signs=instead(BreakGlass, "sam"))
    made.first()
    made.glass_broken(made.exported(2))
    assert reasons(made) == {"break_glass": "too_few_persons"}


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_a_canarys_verdict_is_recomputed(tmp_path: Path, verdict: str) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    second = made.exported(2)
    made.intended(second, made.compared(second, counts()))
    made.canary(second, verdict)
    if verdict == "PASS":
        made.log("promote_failed", **made.about(second), cause="interrupted")
    assert reasons(made) == {}


def test_a_revoked_approval_is_found_where_it_was_used_afterwards(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    first = made.exported(1)
    _, told = made.approved("promote", first, "dora", "greta")
    made.revoked("approval", told[0]["statement"], "sam")
    made.clock -= 3600
    known = made.recorder.registry.model(MODEL).candidates[first]
    made.log(
        "promote_intent",
        **made.about(first),
        incumbent=None,
        report=None,
        bundle=known.bundle,
        policy=made.policy.digest,
        approvals=told,
    )
    made.log("promote_failed", **made.about(first), cause="interrupted")
    assert reasons(made) == {"promote_intent": "revoked_approval"}


def test_a_revocation_that_an_entry_tells_otherwise_is_found(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    made.first()
    made.revoked("key", key_id("oscar"), "sam")
    last = list(made.ledger.reader.rows())[-1]
    said = last.body.decode().replace(key_id("oscar"), key_id("olga")).encode()
    made.ledger.append("key_revoked", said, key_of("again"))
    assert reasons(made) == {"key_revoked": "other_revocation"}


def test_a_deployment_that_another_gateway_acknowledged_is_looked_up(tmp_path: Path) -> None:
    made = Rare(tmp_path / "g")
    digest = made.first()
    more = {"gateway": key_id(GATEWAY), **made.about(digest)}
    made.log("acknowledged", **more, deployment=made.live[0].deployment)
    made.log("acknowledged", **more, deployment=digest_of("none"))
    assert reasons(made) == {"acknowledged": "no_statement"}
