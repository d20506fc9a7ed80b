"""`sluicegate approve`: read what is asked for, and sign or refuse it."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import USAGE, fail
from governance import shape
from governance.binding import Verified
from governance.cli.outcome import read_envelope, refuse
from governance.cli.passphrase import PassphraseFile
from governance.cli.signing import (
    Add,
    AsJson,
    KeyFile,
    Out,
    PolicyFile,
    Yes,
    current_policy,
    person,
    sign_and_write,
)
from governance.description import report_lines
from governance.dsse import Envelope
from governance.errors import GovernanceError, StatementError
from governance.policy import Policy
from governance.predicates import Approval, LedgerHead
from governance.revocations import Revocations
from governance.service_verifier import verify_shadow_report
from governance.shadow_report import ShadowReport
from governance.statements import PAYLOAD_TYPE, Statement, check_payload_type, parse
from governance.vocabulary import APPROVALS, Action


def approve(
    policy: PolicyFile,
    key: KeyFile,
    out: Out = None,
    add: Add = None,
    action: Annotated[str, typer.Option(help=", ".join(APPROVALS) + ".")] = "promote",
    model: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    candidate: Annotated[str | None, typer.Option(metavar="sha256:HEX")] = None,
    incumbent: Annotated[
        str | None, typer.Option(help="The live model's digest, or none.", metavar="sha256:HEX")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="The gateway's shadow report.", metavar="FILE")
    ] = None,
    evidence: Annotated[
        str | None, typer.Option(help="The evidence bundle's digest.", metavar="sha256:HEX")
    ] = None,
    ledger: Annotated[
        str | None, typer.Option(help="The ledger's head that you saw.", metavar="SIZE:sha256:HEX")
    ] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, help="Valid for [as long as the policy allows].")
    ] = None,
    comment: Annotated[str, typer.Option(help="Your words, signed with it.")] = "",
    refusal: Annotated[
        bool, typer.Option("--refuse", help="Sign a refusal; it blocks until it expires.")
    ] = False,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what an action means, and sign for it with your own key.

    The approval names candidate, incumbent, report, evidence, policy and fleet, holds for a day at
    most and for one act. Your key stays on your machine; hand over the file.
    """
    target = add or out
    if target is None or (add is not None and out is not None):
        fail("say where the approval goes: --out FILE, or --add FILE", USAGE, as_json)
    now = int(time.time())
    try:
        if add is not None:
            if refusal:
                fail("a refusal is a statement of its own: --out FILE", USAGE, as_json)
            envelope = read_envelope(add, as_json)
            check_payload_type(envelope)
            statement = parse(envelope.payload, Approval)
            by = current_policy(policy, statement.predicate.action, now, as_json)
            comparison = _comparison(report, by, statement, now, as_json)
        else:
            known = _action(action, as_json)
            if model is None or candidate is None or incumbent is None:
                fail("say what to act on: --model, --candidate, --incumbent", USAGE, as_json)
            by = current_policy(policy, known, now, as_json)
            asked = Asked(known, model, candidate, None if incumbent == "none" else incumbent)
            head = _head(ledger, as_json)
            wanted = (report, evidence, head, seconds, comment, refusal)
            statement, comparison = _statement(asked, wanted, by, now, as_json)
            envelope = Envelope(PAYLOAD_TYPE, statement.payload)
        _check(statement, comparison, by, now)
        rule = by.risk_class(statement.name).rule(statement.predicate.action)
        signer = person(key, passphrase_file, by, [rule], as_json)
    except GovernanceError as error:
        refuse(error, as_json)
    sign_and_write(
        statement,
        envelope,
        signer,
        target,
        more=report_lines(comparison.predicate) if comparison else (),
        adds=add is not None,
        yes=yes,
        as_json=as_json,
    )


@dataclass(frozen=True)
class Asked:
    """What to act on."""

    action: Action
    model: str
    candidate: str
    incumbent: str | None


Wanted = tuple[Path | None, str | None, LedgerHead | None, int | None, str, bool]
Compared = Verified[ShadowReport] | None


def _statement(
    asked: Asked, wanted: Wanted, by: Policy, now: int, as_json: bool
) -> tuple[Statement[Approval], Compared]:
    report, evidence, head, seconds, comment, refusal = wanted
    comparison = None
    if report is not None:
        comparison = _verified(report, by, asked, now, as_json)
    longest = by.risk_class(asked.model).approval_seconds
    document = {
        "action": asked.action,
        "decision": "refuse" if refusal else "approve",
        "candidate": asked.candidate,
        "incumbent": asked.incumbent,
        "shadowReport": comparison.digest if comparison else None,
        "evidence": evidence,
        "policy": by.digest,
        "policyVersion": by.version,
        "audience": by.audience,
        "notBefore": now,
        "expires": now + (seconds or longest),
        "nonce": secrets.token_hex(16),
        "ledger": shape.write(head) if head else None,
        "comment": comment,
    }
    approval = shape.read(Approval, document, "approval")
    return Statement(asked.model, asked.candidate, approval), comparison


def _comparison(
    report: Path | None, by: Policy, statement: Statement[Approval], now: int, as_json: bool
) -> Compared:
    said = statement.predicate
    if said.shadow_report is None:
        return None
    if report is None:
        fail("give the report that the approval names: --report FILE", USAGE, as_json)
    asked = Asked(said.action, statement.name, said.candidate, said.incumbent)
    return _verified(report, by, asked, now, as_json)


def _verified(
    report: Path, by: Policy, asked: Asked, now: int, as_json: bool
) -> Verified[ShadowReport]:
    if asked.incumbent is None:
        raise StatementError("no_incumbent", "a shadow report compares with a live model")
    return verify_shadow_report(
        read_envelope(report, as_json),
        policy=by,
        model=asked.model,
        candidate=asked.candidate,
        incumbent=asked.incumbent,
        audience=by.audience,
        now=now,
        revocations=Revocations(),
    )


def _check(statement: Statement[Approval], comparison: Compared, by: Policy, now: int) -> None:
    """Refuse to sign what could not count."""
    said = statement.predicate
    if (said.policy, said.audience) != (by.digest, by.audience):
        raise StatementError("wrong_policy", "the approval is under another policy")
    if said.shadow_report != (comparison.digest if comparison else None):
        raise StatementError("wrong_shadow_report", "the approval names another report")
    if now >= said.expires:
        raise StatementError("expired", "the approval has expired")
    longest = by.risk_class(statement.name).approval_seconds
    if said.expires - said.not_before > longest:
        raise StatementError("valid_too_long", "it is valid for too long", expected=f"{longest} s")
    passed = comparison is None or comparison.predicate.verdict == "PASS"
    if said.action == "promote" and said.decision == "approve" and not passed:
        raise StatementError("verdict_not_pass", "the candidate did not pass the comparison")


def _action(said: str, as_json: bool) -> Action:
    found = next((action for action in APPROVALS if action == said), None)
    if found is None:
        fail(f"--action is one of {', '.join(APPROVALS)}, not '{said}'", USAGE, as_json)
    return found


def _head(said: str | None, as_json: bool) -> LedgerHead | None:
    if said is None:
        return None
    size, _, root = said.partition(":")
    if not size.isdecimal():
        fail(f"--ledger takes SIZE:sha256:HEX, not '{said}'", USAGE, as_json)
    return shape.read(LedgerHead, {"size": int(size), "root": root}, "--ledger")
