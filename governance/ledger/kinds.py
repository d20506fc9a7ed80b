"""Which entries the ledger takes: every kind with its fields, as data.

Nothing personal can get in because there is no field for it: a value is a digest, a number, a
decimal, a model's name or a slug from a closed alphabet; there is no free text. A person appears as
the digest of a public key, which the policy (kept outside, and deletable) maps to a name; an
approval's comment stays in its envelope, of which the ledger holds the payload's digest.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from governance.ledger.errors import EntryError

MOST_BYTES = 16 * 1024
MOST_APPROVALS = 16

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PATTERNS: Mapping[str, re.Pattern[str]] = {
    "digest": DIGEST,
    "model": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"),
    "slug": re.compile(r"[a-z][a-z0-9_]{0,39}"),
    "nonce": re.compile(r"[A-Za-z0-9_-]{16,64}"),
    "decimal": re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?"),
    "verdict": re.compile(r"PASS|FAIL|INCONCLUSIVE"),
}
GREATEST = 2**53 - 1
_SPACE = re.compile(rb"[\x00-\x20]")

_BY = {"at": "int", "model": "model", "candidate": "digest"}
_SIGNED = {**_BY, "approvals": "approvals"}
APPROVAL = {"statement": "digest", "nonce": "nonce", "head": "int", "signers": "signers"}
SIGNER = {"key": "digest", "role": "slug"}

KINDS: Mapping[str, Mapping[str, str]] = {
    # Events of the registry; governance/states says what each needs and does.
    "register": {**_BY, "trainer": "digest", "provenance": "digest"},
    "accept_eval": {**_BY, "evaluation": "digest"},
    "fail_eval": {**_BY, "evaluation": "digest"},
    "export": {**_BY, "bundle": "digest"},
    "shadow": {**_SIGNED, "incumbent": "digest", "policy": "digest", "attempt": "int"},
    "shadow_result": {
        **_BY,
        "incumbent": "digest",
        "attempt": "int",
        "report": "digest",
        "verdict": "verdict",
    },
    "stop_shadow": {**_BY, "cause": "slug"},
    "refuse": _SIGNED,
    "promote_intent": {
        **_SIGNED,
        "incumbent": "digest?",
        "report": "digest?",
        "bundle": "digest",
        "policy": "digest",
    },
    "canary": {**_BY, "share": "decimal"},
    "canary_result": {**_BY, "report": "digest", "verdict": "verdict"},
    "promote_done": {**_BY, "deployment": "digest"},
    "promote_failed": {**_BY, "cause": "slug"},
    "validate": {**_SIGNED, "report": "digest"},
    "deprecate": _SIGNED,
    "rollback": _SIGNED,
    "revoke": {**_SIGNED, "revocation": "digest"},
    "break_glass": {**_SIGNED, "incumbent": "digest?", "justification": "digest", "expires": "int"},
    "break_glass_expired": _BY,
    "review": _SIGNED,
    # What stands beside the registry's events.
    "policy": {"at": "int", "policy": "digest", "version": "int"},
    "seed": {"at": "int", "model": "model", "commitment": "digest"},
    "seed_revealed": {"at": "int", "model": "model", "commitment": "digest", "report": "digest"},
    "key_revoked": {"at": "int", "key": "digest", "revocation": "digest"},
    "approval_revoked": {"at": "int", "approval": "digest", "revocation": "digest"},
    "dataset_revoked": {"at": "int", "dataset": "digest", "revocation": "digest"},
    "acknowledged": {**_BY, "gateway": "digest", "deployment": "digest"},
    "denied": {"at": "int", "method": "slug", "reason": "slug", "count": "int"},
    "decisions": {"at": "int", "model": "model", "root": "digest", "count": "int"},
}


@dataclass(frozen=True)
class Entry:
    """One entry: its kind, its body (canonical JSON) and its idempotency key.

    The key is the digest of the statement that the entry records: the same statement is logged
    once, however often it is sent. `nonces` are those of the body's approvals.
    """

    kind: str
    body: bytes
    key: str
    nonces: tuple[str, ...]

    @property
    def leaf(self) -> bytes:
        """What the Merkle tree hashes. No kind and no key contains a line feed."""
        return f"{self.kind}\n{self.key}\n".encode() + self.body


def entry(kind: str, body: bytes, key: str) -> Entry:
    """Check an entry before it is written, or after it was read.

    Raises:
        EntryError: the kind is unknown, a field is missing, unknown or of the wrong form, the
            body is not canonical JSON, or the key is not a digest.

    """
    fields = KINDS.get(kind)
    if fields is None:
        raise EntryError("unknown_kind", f"the ledger knows no entry {kind[:60]!r}")
    if not DIGEST.fullmatch(key):
        raise EntryError("bad_key", f"the key {key[:90]!r} is not sha256: and 64 hex digits")
    value = parse_body(body)
    _record(kind, value, fields)
    nonces = tuple(a["nonce"] for a in value.get("approvals", ()))
    if len(set(nonces)) != len(nonces):
        raise EntryError("nonce_used", "two approvals of one entry have the same nonce")
    return Entry(kind, body, key, nonces)


def parse_leaf(data: bytes) -> Entry:
    """Read an entry back from what the tree hashes.

    Raises:
        EntryError: it is not an entry.

    """
    parts = data.split(b"\n", 2)
    if len(parts) != 3 or not data.isascii():
        raise EntryError("bad_entry", "an entry is a kind, a key and a body")
    return entry(parts[0].decode(), parts[2], parts[1].decode())


def parse_body(body: bytes) -> dict[str, Any]:
    """Read a body: an object with sorted keys, no white space, no floats, ASCII.

    Raises:
        EntryError: it is something else.

    """
    if len(body) > MOST_BYTES:
        raise EntryError("entry_too_large", f"a body of {len(body)} bytes; {MOST_BYTES} at most")
    if not body.isascii() or _SPACE.search(body):
        raise EntryError("not_canonical", "a body is ASCII without white space")
    try:
        value = json.loads(
            body, object_pairs_hook=_sorted, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError) as error:
        raise EntryError("not_canonical", f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise EntryError("not_canonical", "a body is an object")
    return value


def _sorted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if sorted(set(keys)) != keys:
        raise EntryError("not_canonical", f"the keys {keys} are not sorted, or one is there twice")
    return dict(pairs)


def _no_float(text: str) -> Any:
    raise EntryError("not_canonical", f"{text} is a float; decimals are strings")


def _record(where: str, value: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    if unknown := value.keys() - fields.keys():
        raise EntryError("unknown_field", f"{where} has no field {', '.join(sorted(unknown))[:90]}")
    for name, form in fields.items():
        if name not in value:
            raise EntryError("missing_field", f"{where} needs the field {name}")
        _check(f"{where}.{name}", value[name], form)


def _check(where: str, value: Any, form: str) -> None:
    if form.endswith("?"):
        if value is None:
            return
        form = form[:-1]
    if form == "int":
        if type(value) is not int or not 0 <= value <= GREATEST:
            raise EntryError("bad_field", f"{where} is a whole number up to 2^53 - 1")
    elif form in ("approvals", "signers"):
        if not isinstance(value, list) or not 1 <= len(value) <= MOST_APPROVALS:
            raise EntryError("bad_field", f"{where} is a list of 1 to {MOST_APPROVALS}")
        for item in value:
            if not isinstance(item, dict):
                raise EntryError("bad_field", f"{where} is a list of objects")
            _record(where, item, APPROVAL if form == "approvals" else SIGNER)
    elif not isinstance(value, str) or not PATTERNS[form].fullmatch(value):
        raise EntryError("bad_field", f"{where} is not a {form}: {str(value)[:60]!r}")
