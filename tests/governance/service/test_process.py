"""The service as a process beside a real server: made by the commands, killed, restarted."""

import json
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.packing import pack_contract
from governance.bundle import folder
from governance.dsse import Envelope
from governance.home import Home
from governance.ledger.verify import verify as verify_ledger
from governance.ledger.witness import FileWitness
from governance.policy import Policy
from governance.predicates import Approval, LedgerHead
from governance.service import settings
from governance.service.client import Client, UnreachableError
from governance.service.repository import digest_of
from governance.statements import Statement
from governance.wire import admin_pb2, governance_pb2
from tests.calls import connect
from tests.conftest import Serve
from tests.gateway.test_telemetry import Collector, collector  # noqa: F401
from tests.governance.service.certificates import Authority, spiffe
from tests.governance.service.commands import run
from tests.governance.service.stage import (
    evaluation,
    provenance,
    short_policy,
)
from tests.governance.service.test_end_to_end import CONTRACT, MODEL, answers, traffic
from tests.governance.signing import AUDIENCE, GATEWAY, KEYS, signed_policy, signer

ROOT = Path(__file__).parents[3]


@dataclass
class Gateway:
    """A governance folder and the service that works on it, as a supervisor starts and ends it."""

    folder: Path
    by: Policy
    authority: Authority
    running: subprocess.Popen[str] | None = None
    port: int = 0

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def start(self) -> None:
        command = [sys.executable, "-m", "governance.service"]
        command += ["--home", str(self.folder / "home"), "--models", str(self.models)]
        command += ["--socket", str(self.folder / "control"), "--tls", str(self.authority.folder)]
        command += ["--admin", f"127.0.0.1:{self.port}"]
        self.running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.running.stdout is not None
        self.port = int(json.loads(self.running.stdout.readline())["admin"].rsplit(":", 1)[1])

    def end(self, number: int) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        self.running.communicate(timeout=20)
        code, self.running = self.running.returncode, None
        return code

    def restart(self) -> None:
        """As after kill -9."""
        assert self.end(signal.SIGKILL) == -9
        self.start()

    def ask(self, request: Any, method: str) -> Any:
        with Client(f"127.0.0.1:{self.port}", self.authority.person("operator")) as client:
            return client.call(request, method)

    def command(self, *words: object, code: int = 0) -> Any:
        return run(*words, who=self.authority.person("operator"), port=self.port, code=code)

    def candidates(self) -> dict[str, Any]:
        told = self.ask(admin_pb2.ListModelsRequest(), "ListModels")
        return {c.digest: c for c in told.candidates}

    def live(self) -> tuple[str, str, str]:
        found = self.ask(admin_pb2.StatusRequest(), "Status").models[0]
        return found.incumbent, found.recorded, found.served

    def signed(self, action: Any, candidate: str, *names: str) -> Path:
        """What people sign, from what the service tells them."""
        head = self.ask(governance_pb2.LedgerHeadRequest(), "LedgerHead")
        known, now = self.candidates(), int(time.time())
        live = [c.digest for c in known.values() if c.state == "live"]
        evidence = known[candidate].bundle if action != "rollback" else None
        report = known[candidate].report if action == "promote" else ""
        said = Approval(
            action=action,
            decision="approve",
            candidate=candidate,
            incumbent=live[0] if live else None,
            shadow_report=report or None,
            evidence=evidence,
            policy=self.by.digest,
            policy_version=1,
            audience=AUDIENCE,
            not_before=now,
            expires=now + 600,
            nonce=secrets.token_hex(16),
            ledger=LedgerHead(head.size, head.root),
            comment="",
        )
        return self.kept(Statement(MODEL, candidate, said).envelope(*map(signer, names)))

    def kept(self, envelope: Envelope) -> Path:
        path = self.folder / f"{envelope.digest[7:19]}.json"
        path.write_bytes(envelope.to_json())
        return path

    def submit(self, version: int) -> str:
        candidate = digest_of(self.models / MODEL / str(version))
        bundle = folder.create(self.folder / f"bundle-{version}", MODEL, candidate)
        words: tuple[object, ...] = ("candidate", "submit", MODEL, version)
        words += ("--bundle", bundle.digest, "--evidence", bundle.root)
        words += ("--provenance", self.kept(provenance(MODEL, candidate, "tom")))
        self.command(*words, "--evaluation", self.kept(evaluation(MODEL, candidate, "tom")))
        return candidate


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    for threshold in (0.5, 0.25):
        pack_contract(CONTRACT % threshold, MODEL, tmp_path / "models")
    words = ("governance", "init", "--home", tmp_path / "home", "--audience", AUDIENCE)
    made = run(*words, "--gateway", GATEWAY, "--witness", tmp_path / "witness.jsonl")
    run(*words, "--gateway", GATEWAY, code=2)
    own = {GATEWAY: made["keys"]["gateway"], "ledger-1": made["keys"]["ledger"]}
    by = short_policy(
        int(time.time()),
        keys=[key | {"public": own.get(key["person"], key["public"])} for key in KEYS],
        admins=[{"spiffe_id": spiffe("operator"), "roles": ["operator"]}],
    )
    first = tmp_path / "policy.json"
    first.write_bytes(signed_policy(by, "rita", "rolf").to_json())
    pinned = ("governance", "policy", "--home", tmp_path / "home", first, "--pin")
    run(*pinned, "sha256:" + "0" * 64, code=2)
    run(*pinned, by.digest)
    authority = Authority(tmp_path / "tls")
    authority.server()
    found = Gateway(tmp_path, by, authority)
    yield found
    if found.running is not None:
        found.end(signal.SIGKILL)


def until(check: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.1)
    return False


def test_from_init_to_rollback_with_a_service_that_is_killed_in_between(
    gateway: Gateway, serve: Serve
) -> None:
    # It is there before its data plane.
    gateway.start()
    assert gateway.ask(admin_pb2.StatusRequest(), "Status").gateway_error
    config = f'control_socket = "{gateway.folder / "control"}"\n'
    server = serve(gateway.models, config + f"[model.{MODEL}]\nversions = [1]\n")
    one, two = gateway.submit(1), gateway.submit(2)
    approval = gateway.signed("promote", one, "dora", "greta")
    gateway.command("promote", MODEL, one, "--approval", approval)
    with traffic(server):
        approval = gateway.signed("shadow", two, "olga")
        gateway.command("shadow", "start", MODEL, two, "--approval", approval)
        asked = admin_pb2.ShadowStatusRequest(model=MODEL)
        assert until(lambda: gateway.ask(asked, "ShadowStatus").counts["complete"] > 20)
        gateway.restart()
        told = gateway.ask(asked, "ShadowStatus")
        assert (told.attempt, told.counts["complete"] > 20) == (1, True)
        last = gateway.command("shadow", "status", MODEL, "--watch")
        assert last["verdict"] == "PASS"
        approval = gateway.signed("promote", two, "dora", "greta")
        gateway.command("promote", MODEL, two, "--approval", approval)
        assert gateway.live() == (two,) * 3
        gateway.restart()
        assert gateway.command("promote", MODEL, two, "--approval", approval)["repeated_call"]
        approval = gateway.signed("rollback", two, "olga")
        gateway.command("rollback", MODEL, "--approval", approval)
        assert answers(connect(server)) == one
    assert gateway.live() == (one,) * 3
    assert gateway.end(signal.SIGTERM) == 0
    home = Home(gateway.folder / "home")
    key = settings.log_key(home, settings.load(home))
    witness = FileWitness(gateway.folder / "witness.jsonl", key)
    checked = verify_ledger(home.ledger, key, witness.heads())
    assert checked.sound
    assert checked.witnessed == checked.size


def test_a_gateway_that_serves_another_version_is_put_right(gateway: Gateway, serve: Serve) -> None:
    gateway.start()
    config = f'control_socket = "{gateway.folder / "control"}"\n'
    server = serve(gateway.models, config + f"[model.{MODEL}]\nversions = [2]\n")
    one = gateway.submit(1)
    approval = gateway.signed("promote", one, "dora", "greta")
    gateway.command("promote", MODEL, one, "--approval", approval)
    client = connect(server)
    assert answers(client) == one
    from gateway.control import source  # noqa: PLC0415

    source.command(gateway.folder / "control", "swap", model=MODEL, version=2)
    assert answers(client) != one
    assert until(lambda: answers(client) == one, 15)


def test_a_server_starts_its_governance_and_passes_its_collector_on(
    gateway: Gateway,
    serve: Serve,
    collector: tuple[Collector, str],  # noqa: F811
) -> None:
    kept, otlp = collector
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gateway.port = free.getsockname()[1]
    config = (
        f'control_socket = "{gateway.folder / "control"}"\nadmin = "127.0.0.1:{gateway.port}"\n'
    )
    config += f'[governance]\nhome = "{gateway.folder / "home"}"\n'
    config += f'tls = "{gateway.authority.folder}"\n'
    config += f'[telemetry]\notlp = "{otlp}"\nexport_seconds = 1\n'
    serve(gateway.models, config)

    def asked() -> bool:
        try:
            return bool(gateway.ask(admin_pb2.StatusRequest(), "Status").gateway)
        except UnreachableError:
            return False

    assert until(asked)
    assert until(lambda: "sluicegate_admin_requests" in kept.metrics)
    (point,) = kept.metrics["sluicegate_admin_requests"].sum.data_points
    told = {a.key: a.value.string_value for a in point.attributes}
    assert (told["rpc.method"], told["sluicegate.role"]) == ("Status", "operator")
