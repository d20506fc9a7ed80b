"""The generated types of the service are those of proto/."""

from gateway.wire.generate import GOVERNANCE, drift


def test_the_committed_types_are_what_proto_gives() -> None:
    assert drift(GOVERNANCE.folder, GOVERNANCE) == []
