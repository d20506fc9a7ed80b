"""DSSE envelopes: who signed which bytes, taken as which type.

https://github.com/secure-systems-lab/dsse, version 1, with Ed25519. The envelope itself is not
signed: its base64, the order of its signatures and their key ids can be changed by anyone, so
nothing here or elsewhere identifies a document by its envelope. Use the payload's digest.
"""

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from governance.canonical import MAX_BYTES, digest, parse_json
from governance.errors import MalformedError
from governance.keys import key_id, verifies
from governance.signer import Signer

MAX_SIGNATURES = 16
MAX_SIGNATURE_BYTES = 8192
MAX_ENVELOPE_BYTES = 2 * MAX_BYTES


@dataclass(frozen=True)
class Signature:
    """One signature. The key id says which key to try first, and nothing else."""

    sig: bytes
    keyid: str = ""


@dataclass(frozen=True)
class Envelope:
    """A payload, the type that it was signed as, and signatures (none of them checked yet).

    Raises:
        MalformedError: more than 1 MiB of payload, or more than 16 signatures.

    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...] = ()

    def __post_init__(self) -> None:
        if len(self.payload) > MAX_BYTES:
            raise _too_large("payload", len(self.payload), MAX_BYTES)
        if len(self.signatures) > MAX_SIGNATURES:
            raise MalformedError(
                "too_many_signatures",
                f"the envelope has {len(self.signatures)} signatures",
                expected=f"at most {MAX_SIGNATURES}",
            )

    @cached_property
    def digest(self) -> str:
        """The digest of the payload, by which other documents name this one."""
        return digest(self.payload)

    def signed_by(self, signer: Signer) -> "Envelope":
        """The envelope with one more signature. Signing twice with one key changes nothing."""
        if signer.public_key in verified_keys(self, [signer.public_key]):
            return self
        made = Signature(signer.sign(self.signed_bytes), key_id(signer.public_key))
        return replace(self, signatures=(*self.signatures, made))

    @property
    def signed_bytes(self) -> bytes:
        """What the signatures are over."""
        return pae(self.payload_type, self.payload)

    def to_json(self) -> bytes:
        """The envelope as a JSON document, with a line feed at its end."""
        document = {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": s.keyid, "sig": base64.b64encode(s.sig).decode("ascii")}
                for s in self.signatures
            ],
        }
        return (json.dumps(document, indent=1) + "\n").encode("ascii")

    @classmethod
    def from_json(cls, data: bytes) -> "Envelope":
        """Read an envelope strictly: known fields only, standard base64 in its one spelling.

        Raises:
            MalformedError: it is none; the reason says what is wrong.

        """
        if len(data) > MAX_ENVELOPE_BYTES:
            raise _too_large("envelope", len(data), MAX_ENVELOPE_BYTES)
        found = _object(parse_json(data), "envelope", {"payload", "payloadType", "signatures"})
        signatures = found["signatures"]
        if not isinstance(signatures, list):
            raise _wrong_type("signatures", "a list")
        if len(signatures) > MAX_SIGNATURES:
            raise MalformedError(
                "too_many_signatures",
                f"the envelope has {len(signatures)} signatures",
                expected=f"at most {MAX_SIGNATURES}",
            )
        return cls(
            _text(found["payloadType"], "payloadType"),
            _base64(found["payload"], "payload"),
            tuple(_signature(entry) for entry in signatures),
        )


def sign(payload: bytes, payload_type: str, *signers: Signer) -> Envelope:
    """An envelope over the payload, signed by each of the signers."""
    envelope = Envelope(payload_type, payload)
    for signer in signers:
        envelope = envelope.signed_by(signer)
    return envelope


def pae(payload_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is signed, type and payload with their lengths."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verified_keys(envelope: Envelope, keys: Iterable[bytes]) -> frozenset[bytes]:
    """Which of the public keys (32 bytes each) signed the envelope.

    A key id only decides which key is tried first. A signature counts for one key, and a key once,
    however often it signed.
    """
    message = envelope.signed_bytes
    left = {key_id(key): key for key in keys}
    found = set()
    for signature in envelope.signatures:
        hinted = left.get(signature.keyid)
        others = (key for key in left.values() if key is not hinted)
        for key in (hinted, *others) if hinted is not None else others:
            if verifies(key, signature.sig, message):
                found.add(key)
                del left[key_id(key)]
                break
    return frozenset(found)


def _signature(entry: object) -> Signature:
    found = _object(entry, "signature", {"keyid", "sig"}, optional={"keyid"})
    sig = _base64(found["sig"], "sig")
    if len(sig) > MAX_SIGNATURE_BYTES:
        raise _too_large("signature", len(sig), MAX_SIGNATURE_BYTES)
    return Signature(sig, _text(found.get("keyid", ""), "keyid"))


def _object(
    value: object, what: str, names: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _wrong_type(what, "an object")
    for name in value.keys() - names:
        raise MalformedError("unknown_field", f"the {what} has an unknown field {name!r}")
    for name in names - optional - value.keys():
        raise MalformedError("missing_field", f"the {what} has no field {name!r}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value.isascii() or len(value) > 256:
        raise _wrong_type(what, "ASCII text of at most 256 characters")
    return value


def _base64(value: object, what: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise ValueError("not text")
        data = base64.b64decode(value, validate=True)
        # The last character's unused bits could be anything.
        if base64.b64encode(data).decode("ascii") != value:
            raise ValueError("more than one spelling")
    except (ValueError, binascii.Error):
        raise MalformedError(
            "bad_base64", f"{what} is not base64", expected="RFC 4648, padded"
        ) from None
    return data


def _wrong_type(what: str, expected: str) -> MalformedError:
    return MalformedError("wrong_type", f"{what} has the wrong type", expected=expected)


def _too_large(what: str, size: int, most: int) -> MalformedError:
    return MalformedError("too_large", f"the {what} has {size} bytes", expected=f"at most {most}")
