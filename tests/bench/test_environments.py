"""Environments of peers: when one is stale, and what is told when one cannot be had."""

from pathlib import Path

import pytest

from bench import environments
from bench.comparison import PEERS
from bench.environments import EnvironmentFailedError, cleaned, is_fresh, key, why


def test_every_peer_has_a_lock_with_hashes_a_script_and_no_address() -> None:
    for name in PEERS:
        lock = (environments.LOCKS / f"{name}.txt").read_text()
        assert "--hash=sha256:" in lock
        assert "://" not in lock
        assert (environments.ROOT / "bench" / "peers" / f"{name}_onnx.py").is_file()
        for pin in environments.pins(name):
            assert f"\n{pin.replace('[serve]', '')}" in lock.replace("[serve]", "")


def test_peers_run_the_onnxruntime_that_the_gateway_is_locked_to() -> None:
    ours = (environments.ROOT / "requirements" / "dev.txt").read_text()
    (version,) = {pin for name in PEERS for pin in environments.pins(name) if "onnxruntime" in pin}
    assert f"{version} " in ours


def test_an_environment_is_stale_without_its_mark_and_after_a_change_of_the_lock(
    tmp_path: Path,
) -> None:
    assert not is_fresh(tmp_path, "a==1")
    (tmp_path / environments.MARK).write_text(key("a==1") + "\n")
    assert is_fresh(tmp_path, "a==1")
    assert not is_fresh(tmp_path, "a==2")


def test_an_installation_that_fails_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str]) -> None:
        raise EnvironmentFailedError("no")

    (tmp_path / "peer.txt").write_text("a==1")
    monkeypatch.setattr(environments, "LOCKS", tmp_path)
    monkeypatch.setattr(environments, "BUILT", tmp_path / "built")
    monkeypatch.setattr(environments, "_made", fail)
    with pytest.raises(EnvironmentFailedError):
        environments.ensure("peer", lambda _: None)
    assert not is_fresh(tmp_path / "built" / "peer", "a==1")


def test_the_reason_is_the_last_error_without_addresses_and_paths() -> None:
    said = (
        "WARNING: x\nERROR: no such at https://u:p@index.invalid/simple/x, see /home/me/a.log\n\n"
    )
    assert why(said) == "ERROR: no such at … see …"
    assert why("") == "no reason was given"
    assert cleaned("a 1/2 share of /tmp/x") == "a 1/2 share of …"
