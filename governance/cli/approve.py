"""`sluicegate approve`: read what is asked for, and sign or refuse it."""

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.output import REFUSED, USAGE, emit, fail, say
from governance import shape
from governance.binding import Verified
from governance.cli.outcome import read_envelope, refuse, write_file
from governance.cli.passphrase import PassphraseFile, passphrase
from governance.description import describe, report_lines
from governance.dsse import Envelope
from governance.errors import GovernanceError, KeyUseError, StatementError
from governance.policy import Policy
from governance.policy_chain import check_own_roots
from governance.predicates import Approval, LedgerHead
from governance.revocations import Revocations
from governance.service_verifier import verify_shadow_report
from governance.shadow_report import ShadowReport
from governance.signatories import unfit_key
from governance.signer import FileSigner
from governance.statements import PAYLOAD_TYPE, Statement, check_payload_type, parse
from governance.vocabulary import APPROVALS


def approve(
    policy: Annotated[Path, typer.Option(help="The signed policy.", metavar="FILE")],
    key: Annotated[Path, typer.Option(help="Your private key.", metavar="FILE")],
    out: Annotated[
        Path | None, typer.Option(help="Where the approval goes.", metavar="FILE")
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(help="Sign the same approval as others did, in its file.", metavar="FILE"),
    ] = None,
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
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking again.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what an action means, and sign for it with your own key.

    The approval names candidate, incumbent, report, evidence, policy and fleet, holds for a day at
    most and for one act. Your key stays on your machine; hand over the file.
    """
    if (out is None) == (add is None):
        fail("say where the approval goes: --out FILE, or --add FILE", USAGE, as_json)
    now = int(time.time())
    try:
        by = check_own_roots(read_envelope(policy, as_json))
        by.check_current(now)
        if add is not None:
            if refusal:
                fail("a refusal is a statement of its own: --out FILE", USAGE, as_json)
            envelope = read_envelope(add, as_json)
            check_payload_type(envelope)
            statement = parse(envelope.payload, Approval)
            comparison = _comparison(report, by, statement, now, as_json)
        else:
            if model is None or candidate is None or incumbent is None:
                fail("say what to act on: --model, --candidate, --incumbent", USAGE, as_json)
            asked = Asked(action, model, candidate, None if incumbent == "none" else incumbent)
            head = _head(ledger, as_json)
            wanted = (report, evidence, head, seconds, comment, refusal)
            statement, comparison = _statement(asked, wanted, by, now, as_json)
            envelope = Envelope(PAYLOAD_TYPE, statement.payload)
        _check_own(statement, comparison, by, now)
        signer = FileSigner.open(key, passphrase(passphrase_file, as_json))
        person = _signer(signer, statement, by, now)
    except GovernanceError as error:
        refuse(error, as_json)
    _show(statement, comparison, person)
    if not yes and not typer.confirm("Sign this?", err=True):
        fail("not signed", REFUSED, as_json)
    envelope = envelope.signed_by(signer)
    target = out or add or Path()
    write_file(target, envelope.to_json(), as_json, replace=add is not None)
    say(f"{target}: signed by {person}")
    if as_json:
        emit(
            {
                "path": str(target),
                "digest": statement.payload_digest,
                "person": person,
                "approval": shape.write(statement.predicate),
            }
        )


@dataclass(frozen=True)
class Asked:
    """What to act on."""

    action: str
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


def _check_own(statement: Statement[Approval], comparison: Compared, by: Policy, now: int) -> None:
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


def _signer(signer: FileSigner, statement: Statement[Approval], by: Policy, now: int) -> str:
    key = by.by_public.get(signer.public_key)
    if key is None:
        raise KeyUseError("unknown_key", "the policy does not know this key", remedy="ask a root")
    unfit = unfit_key(key, now, Revocations())
    if unfit is not None:
        raise KeyUseError(unfit.reason, unfit.sentence)
    rule = by.risk_class(statement.name).rules[statement.predicate.action]
    if not set(key.roles) & set(rule.roles):
        raise KeyUseError(
            "missing_role",
            f"{key.person} holds none of the roles that sign for this",
            expected=", ".join(rule.roles),
            remedy="ask somebody who holds one",
        )
    return key.person


def _show(statement: Statement[Approval], comparison: Compared, person: str) -> None:
    say(typer.style(f"{person} is about to sign:", bold=True))
    lines = describe(statement)
    if comparison is not None:
        lines += report_lines(comparison.predicate)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        say(f"  {name:<{width}}  {value}")


def _head(said: str | None, as_json: bool) -> LedgerHead | None:
    if said is None:
        return None
    size, _, root = said.partition(":")
    if not size.isdecimal():
        fail(f"--ledger takes SIZE:sha256:HEX, not '{said}'", USAGE, as_json)
    return shape.read(LedgerHead, {"size": int(size), "root": root}, "--ledger")
