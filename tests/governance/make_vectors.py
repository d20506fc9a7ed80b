"""Writes the golden vectors: `python -m tests.governance.make_vectors`.

Each file is one attempt at a promotion, as another program would meet it: the policy, the report,
the envelopes, the circumstances, and what must come of it. Ed25519 is deterministic, so the files
are the same in every run.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from governance.dsse import Envelope, Signature, sign
from governance.keys import key_id
from governance.policy import Policy
from governance.statements import PAYLOAD_TYPE
from tests.governance import samples
from tests.governance.signing import (
    AUDIENCE,
    CANDIDATE,
    EVIDENCE,
    INCUMBENT,
    MODEL,
    NOW,
    Promotion,
    approval,
    digest_of,
    gate,
    key,
    policy,
    report,
    signed,
    signed_policy,
    signer,
    with_key,
)

FOLDER = Path(__file__).parent / "vectors"


def case(
    expect: str, *envelopes: Envelope, by: Policy | None = None, **changes: Any
) -> dict[str, Any]:
    """One attempt. `shadow_report` is an envelope."""
    by = by or policy()
    circumstances = {
        "action": "promote",
        "model": MODEL,
        "candidate": CANDIDATE,
        "incumbent": INCUMBENT,
        "evidence_digest": EVIDENCE,
        "audience": AUDIENCE,
        "now": NOW,
        "proposer": "tom",
        "trainer_keys": [signer("tom").public_key.hex()],
        "used_nonces": [],
        "revoked_keys": {},
    }
    comparison = changes.pop("shadow_report", None) or signed(report(by), "gateway-1")
    return {
        "expect": expect,
        "policy": json.loads(signed_policy(by, "rita", "rolf").to_json()),
        "shadow_report": json.loads(comparison.to_json()),
        "envelopes": [json.loads(envelope.to_json()) for envelope in envelopes],
        "circumstances": circumstances | changes,
    }


def respelt(old: str, new: str) -> Envelope:
    """A genuine signature over another spelling of a good approval."""
    text = Promotion().approved().payload.decode().replace(old, new)
    return sign(text.encode(), PAYLOAD_TYPE, signer("dora"), signer("greta"))


def cases() -> dict[str, dict[str, Any]]:
    """Every vector by its name."""
    promotion = Promotion()
    good = promotion.approved("dora", "greta")
    both = policy(keys=with_key(key("dora-2", "governance_approver", person="dora")))
    failed = signed(
        report(promotion.by, verdict="FAIL", gates=(gate(d=40, state="FAIL"),)), "gateway-1"
    )
    unhinted = replace(good, signatures=tuple(Signature(s.sig) for s in good.signatures))
    tampered = bytearray(good.payload)
    tampered[100] ^= 1
    no = promotion.approved("greta", decision="refuse", comment="segment 3", nonce="c" * 32)
    return {
        "approved": case("approved", good),
        "approved_in_two_envelopes": case(
            "approved", promotion.approved("dora"), promotion.approved("greta")
        ),
        "approved_with_two_payloads": case(
            "approved",
            promotion.approved("dora", nonce="a" * 32),
            promotion.approved("greta", nonce="b" * 32),
        ),
        "approved_without_key_ids": case("approved", unhinted),
        "unsigned": case("unsigned", promotion.approved()),
        "strangers": case("no_valid_signature", promotion.approved("mallory", "eve")),
        "payload_changed": case("no_valid_signature", replace(good, payload=bytes(tampered))),
        "one_person": case("too_few_persons", promotion.approved("dora")),
        "one_person_two_keys": case(
            "same_person", Promotion(both).approved("dora", "dora-2"), by=both
        ),
        "no_expert": case("too_few_persons", promotion.approved("olga", "greta")),
        "proposer": case("proposer_approves", good, proposer="greta"),
        "trainer": case("trainer_approves", good, trainer_keys=[signer("greta").public_key.hex()]),
        "service": case("service_approves", promotion.approved("dora", "gateway-1")),
        "revoked_key": case(
            "revoked_key", good, revoked_keys={key_id(signer("dora").public_key): NOW}
        ),
        "refused": case("refused_by_person", good, no),
        "expired": case("expired", good, now=NOW + 3600),
        "too_early": case("not_yet_valid", good, now=NOW - 121),
        "replayed": case("replayed_nonce", good, used_nonces=[approval(promotion.by).nonce]),
        "incumbent_moved": case(
            "wrong_incumbent", promotion.approved("dora", "greta", incumbent=digest_of("older"))
        ),
        "other_report": case(
            "wrong_shadow_report",
            promotion.approved("dora", "greta", shadow_report=digest_of("other")),
        ),
        "other_fleet": case(
            "wrong_audience", promotion.approved("dora", "greta", audience="bidders-us")
        ),
        "other_policy": case(
            "wrong_policy", promotion.approved("dora", "greta", policy=digest_of("other"))
        ),
        "failed_comparison": case(
            "verdict_not_pass",
            promotion.approved("dora", "greta", shadow_report=failed.digest),
            shadow_report=failed,
        ),
        "duplicate_key": case(
            "duplicate_key",
            respelt('"decision":"approve"', '"decision":"refuse","decision":"approve"'),
        ),
        "float": case("float", respelt('"policyVersion":1', '"policyVersion":1.0')),
        "white_space": case("not_canonical", respelt('"nonce":', '"nonce": ')),
        "other_kind": case("wrong_predicate_type", signed(samples.break_glass(), "dora", "greta")),
    }


def texts() -> dict[str, str]:
    """Every file's name and text."""
    return {
        f"{name}.json": json.dumps(found, indent=1, sort_keys=True) + "\n"
        for name, found in cases().items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, text in texts().items():
        (FOLDER / file).write_text(text)
