"""The golden vectors, as a program of another make would run them."""

import json
from typing import Any

import pytest

from governance.dsse import Envelope
from governance.errors import GovernanceError
from governance.policy_chain import accept, read
from governance.revocations import Revocations
from governance.service_verifier import verify_shadow_report
from governance.verifier import verify_approvals
from tests.governance.make_vectors import FOLDER, texts

FILES = sorted(FOLDER.glob("*.json"))


def envelope(document: Any) -> Envelope:
    return Envelope.from_json(json.dumps(document).encode())


def outcome(vector: dict[str, Any]) -> str:
    found = dict(vector["circumstances"])
    revocations = Revocations(keys=found.pop("revoked_keys"))
    trainers = [bytes.fromhex(public) for public in found.pop("trainer_keys")]
    signed_policy = envelope(vector["policy"])
    now = min(found["now"], read(signed_policy).expires - 1)
    followed = accept(signed_policy, None, read(signed_policy).digest, now)
    try:
        report = verify_shadow_report(
            envelope(vector["shadow_report"]),
            policy=followed,
            model=found["model"],
            candidate=found["candidate"],
            incumbent=found["incumbent"],
            audience=found["audience"],
            now=found["now"],
            revocations=revocations,
        )
        verify_approvals(
            [envelope(document) for document in vector["envelopes"]],
            policy=followed,
            shadow_report=report,
            trainer_keys=trainers,
            revocations=revocations,
            **found,
        )
    except GovernanceError as error:
        return error.reason
    return "approved"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_vector_comes_out_as_it_says(path: Any) -> None:
    vector = json.loads(path.read_text())
    assert outcome(vector) == vector["expect"]


def test_the_vectors_are_those_that_the_script_makes() -> None:
    assert {path.name: path.read_text() for path in FILES} == texts()
