"""Statements: what is said about a model, in in-toto's frame.

https://github.com/in-toto/attestation, Statement v1: one subject, one predicate, signed in a DSSE
envelope. What can be said is in `predicates` (our own), `shadow_report` and `attestations` (of
SLSA and in-toto).
"""

import types
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, Generic, TypeVar

from governance import canonical, shape
from governance.attestations import Evaluation, Provenance
from governance.dsse import Envelope
from governance.errors import MalformedError, StatementError
from governance.predicates import Approval, BreakGlass, Deployment, Predicate, Revocation
from governance.shadow_report import ShadowReport
from governance.shape import Text
from governance.signer import Signer
from governance.vocabulary import ModelName, Sha256Hex

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

KINDS: types.MappingProxyType[str, type[Predicate]] = types.MappingProxyType(
    {
        "approval": Approval,
        "break-glass": BreakGlass,
        "deployment": Deployment,
        "evaluation": Evaluation,
        "provenance": Provenance,
        "revocation": Revocation,
        "shadow-report": ShadowReport,
    }
)

# A longer payload is read anew each time, so that what is remembered stays below 64 MiB.
MAX_REMEMBERED: Final = 1 << 16

P = TypeVar("P", bound=Predicate)
P_co = TypeVar("P_co", bound=Predicate, covariant=True)


@dataclass(frozen=True)
class _DigestSet:
    sha256: Sha256Hex


@dataclass(frozen=True)
class _Subject:
    name: ModelName
    digest: _DigestSet


@dataclass(frozen=True)
class Statement(Generic[P_co]):
    """A predicate about a subject.

    Attributes:
        name: the subject's name: the model's, or for a revocation of something else its kind.
        digest: the subject's digest, `sha256:` and hex.
        predicate: what is said.

    Raises:
        MalformedError: the predicate is about another subject (`subject_mismatch`).

    """

    name: str
    digest: str
    predicate: P_co

    def __post_init__(self) -> None:
        about = self.predicate.about
        if about is not None and about != self.digest:
            raise MalformedError(
                "subject_mismatch",
                f"the statement's subject is {self.digest} and it speaks of {about}",
                expected="one digest in both places",
            )

    @cached_property
    def payload(self) -> bytes:
        """The bytes that are signed.

        Raises:
            MalformedError: a field has a value that `parse` would refuse.

        """
        subject = {"name": self.name, "digest": {"sha256": self.digest.removeprefix("sha256:")}}
        payload = canonical.encode(
            {
                "_type": STATEMENT_TYPE,
                "subject": [subject],
                "predicateType": self.predicate.TYPE,
                "predicate": shape.write(self.predicate),
            }
        )
        # Nobody signs what nobody could read.
        parse(payload, type(self.predicate))
        return payload

    @cached_property
    def payload_digest(self) -> str:
        """The digest by which other documents name this statement."""
        return canonical.digest(self.payload)

    def envelope(self, *signers: Signer) -> Envelope:
        """The statement in an envelope, signed by each of the signers."""
        envelope = Envelope(PAYLOAD_TYPE, self.payload)
        for signer in signers:
            envelope = envelope.signed_by(signer)
        return envelope


def check_payload_type(envelope: Envelope) -> None:
    """Refuse an envelope that was signed as something else than a statement.

    Raises:
        StatementError: `wrong_payload_type`.

    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise StatementError(
            "wrong_payload_type",
            f"the envelope holds {envelope.payload_type!r}",
            expected=PAYLOAD_TYPE,
        )


def parse(payload: bytes, kind: type[P]) -> Statement[P]:
    """Read a statement of one kind.

    Raises:
        MalformedError: it is not canonical, of another kind (`wrong_predicate_type`), or does not
            have the kind's form.

    """
    found: Statement[P] = _remembered(payload, (kind,))
    return found


def parse_any(payload: bytes) -> Statement[Predicate]:
    """Read a statement of any known kind.

    Raises:
        MalformedError: it is of no known kind (`wrong_predicate_type`), or as `parse`.

    """
    found: Statement[Predicate] = _remembered(payload, tuple(KINDS.values()))
    return found


def _remembered(payload: bytes, kinds: tuple[type[Predicate], ...]) -> Statement[Any]:
    read = _read if len(payload) <= MAX_REMEMBERED else _read.__wrapped__
    hashable: Any = kinds
    return read(payload, hashable)


@lru_cache(maxsize=1024)
def _read(payload: bytes, kinds: tuple[type[Predicate], ...]) -> Statement[Any]:
    """What the bytes say; the same bytes always say the same, and a rollback waits for it."""
    found = _frame(payload)
    named = found["predicateType"]
    kind = next((kind for kind in kinds if named == kind.TYPE), None)
    if kind is None:
        raise MalformedError(
            "wrong_predicate_type",
            f"the statement is a {named}",
            expected=" or ".join(kind.TYPE for kind in kinds),
            remedy="give the file that was asked for",
        )
    subjects = found["subject"]
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise MalformedError("wrong_subject", "the statement has not exactly one subject")
    subject = shape.read(_Subject, subjects[0], "subject")
    predicate = shape.read(kind, found["predicate"], "predicate")
    return Statement(subject.name, "sha256:" + subject.digest.sha256, predicate)


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a kind of statement, by its name in `KINDS`."""
    kind = KINDS[name]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:sluicegate:schema:{name}:v1",
        "title": f"Statement: {name}",
        "description": "Canonical JSON; some conditions between fields are left to the parser.",
        "type": "object",
        "properties": {
            "_type": {"const": STATEMENT_TYPE},
            "subject": {
                "type": "array",
                "items": shape.schema(_Subject),
                "minItems": 1,
                "maxItems": 1,
            },
            "predicateType": {"const": kind.TYPE},
            "predicate": shape.schema(kind),
        },
        "required": ["_type", "subject", "predicateType", "predicate"],
        "additionalProperties": False,
    }


def _frame(payload: bytes) -> dict[str, Any]:
    found = canonical.decode(payload)
    names = {"_type", "subject", "predicateType", "predicate"}
    if not isinstance(found, dict):
        raise MalformedError("wrong_type", "the statement is no JSON object")
    for name in found.keys() - names:
        raise MalformedError("unknown_field", f"the statement has an unknown field {name!r}")
    for name in names - found.keys():
        raise MalformedError("missing_field", f"the statement has no field {name!r}")
    if found["_type"] != STATEMENT_TYPE:
        raise MalformedError("wrong_statement_type", "this is no in-toto statement of version 1")
    Text(most=200).read(found["predicateType"], "predicateType")
    return found
