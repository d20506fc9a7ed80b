"""A canary in the data plane: a share of the callers, the same ones always, and its comparison."""

from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.control import source
from tests.calls import eventually, model_status, request, status
from tests.conftest import Serve
from tests.gateway.test_shadow import WISHES, Shadowed, pack, rows

SALT = "0f0e0d0c0b0a09080706050403020100"
KEYS = [f"user-{n}" for n in range(200)]


@pytest.fixture
def shadowed(tmp_path: Path, serve: Serve) -> Shadowed:
    """Versions 1 to 3 of a model; they differ in the threshold. The last answers."""
    for threshold in (0.0, 0.5, 1e-9):
        pack(tmp_path / "models", threshold)
    socket = tmp_path / "control"
    return Shadowed(serve(tmp_path / "models", f'control_socket = "{socket}"\n'), socket)


def begin(s: Shadowed, version: int = 2, share: float = 0.2, **more: Any) -> None:
    wishes = WISHES | {"share": 0.0}
    told = {"model": "m", "version": version, "share": share, "salt": SALT, "wishes": wishes}
    source.command(s.socket, "canary", **told | more)


def answered_by(s: Shadowed, key: str | None = None, version: str = "") -> str:
    asked = request("m", rows([0.25]), model_version=version)
    if key is not None:
        asked.parameters["key"].string_param = key
    return str(s.client.stub.ModelInfer(asked, timeout=5).model_version)


def resident(s: Shadowed) -> set[int]:
    """Versions that are loaded."""
    return {int(m["version"]) for m in status(s.server)["models"] if "digest" in m}


def test_the_same_callers_always_and_about_the_share_that_was_asked_for(
    shadowed: Shadowed,
) -> None:
    assert {answered_by(shadowed, key) for key in KEYS} == {"3"}
    begin(shadowed)
    first = {key: answered_by(shadowed, key) for key in KEYS}
    assert 20 <= Counter(first.values())["2"] <= 60
    assert first == {key: answered_by(shadowed, key) for key in KEYS}
    told = model_status(shadowed.server, "m", 3)["canary"]
    assert (told["version"], told["share"]) == (2, 0.2)
    source.command(shadowed.socket, "end_canary", model="m")
    assert {answered_by(shadowed, key) for key in KEYS} == {"3"}
    assert model_status(shadowed.server, "m", 3)["canary"] is None


def test_who_has_no_key_and_who_names_a_version_is_in_no_canary(shadowed: Shadowed) -> None:
    begin(shadowed, share=0.5)
    assert {answered_by(shadowed) for _ in range(20)} == {"3"}
    assert {answered_by(shadowed, key, "3") for key in KEYS[:20]} == {"3"}
    # It is not live: nobody gets it by its number.
    with pytest.raises(grpc.RpcError) as refused:
        answered_by(shadowed, KEYS[0], "2")
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_what_the_canary_answers_is_compared_with_the_version_that_answers_the_others(
    shadowed: Shadowed,
) -> None:
    begin(shadowed, share=0.5)
    for key in KEYS:
        # 0.25 is "yes" to version 3 and "no" to version 2.
        answered_by(shadowed, key)
    assert eventually(lambda: bool(shadowed.look()["canary"] and len(shadowed.ends) > 5))
    told = shadowed.look()
    assert (told["incumbent"]["version"], told["candidate"]["version"]) == (2, 3)
    complete = [e for e in shadowed.ends if e["end"] == "complete"]
    assert complete
    assert {(e["incumbent"], e["candidate"]) for e in complete} == {(False, True)}


def test_a_swap_to_the_canary_makes_it_live_and_ends_it(shadowed: Shadowed) -> None:
    begin(shadowed)
    source.command(shadowed.socket, "swap", model="m", version=2)
    assert {answered_by(shadowed, key) for key in KEYS[:20]} == {"2"}
    assert model_status(shadowed.server, "m", 3)["canary"] is None
    assert source.shadows(shadowed.socket) == {}
    with pytest.raises(source.RefusedError, match="no canary"):
        source.command(shadowed.socket, "end_canary", model="m")
    # What was live before is what a rollback goes back to.
    assert resident(shadowed) == {2, 3}
    source.command(shadowed.socket, "swap", model="m", version=3)
    assert answered_by(shadowed, KEYS[0]) == "3"


def test_a_swap_to_another_version_ends_the_canary_and_frees_it(shadowed: Shadowed) -> None:
    begin(shadowed)
    source.command(shadowed.socket, "swap", model="m", version=1)
    assert {answered_by(shadowed, key) for key in KEYS} == {"1"}
    assert eventually(lambda: resident(shadowed) == {1, 3})


def test_an_ended_canary_is_freed_and_a_standby_version_is_kept(shadowed: Shadowed) -> None:
    begin(shadowed)
    source.command(shadowed.socket, "end_canary", model="m")
    assert eventually(lambda: resident(shadowed) == {3})
    source.command(shadowed.socket, "swap", model="m", version=1)
    begin(shadowed, version=3)
    assert "3" in {answered_by(shadowed, key) for key in KEYS}
    source.command(shadowed.socket, "end_canary", model="m")
    assert model_status(shadowed.server, "m", 3)["state"] == "standby"


def test_what_cannot_be_a_canary_is_refused_with_a_sentence(shadowed: Shadowed) -> None:
    for change, said in (
        ({"share": 0.0}, "share is 0"),
        ({"share": 0.6}, "at most 0.5"),
        ({"salt": "zz"}, "salt must be 32"),
        ({"version": 3}, "answers everybody"),
        ({"version": 9}, "version 9"),
        ({"model": "none"}, "does not answer"),
    ):
        with pytest.raises(source.RefusedError, match=said):
            begin(shadowed, **change)
    assert {answered_by(shadowed, key) for key in KEYS[:20]} == {"3"}
    begin(shadowed)
    with pytest.raises(source.RefusedError, match="has a canary already"):
        begin(shadowed, version=1)
    with pytest.raises(grpc.RpcError) as refused:
        answered_by(shadowed, "x" * 257)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "'key' must be a string of at most 256 bytes" in refused.value.details()
