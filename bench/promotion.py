"""Promotions and rollbacks under load: signed, compared, verified, logged, swapped, and back."""

import io
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
from rich.console import Console

from bench import models, servers, workload
from bench.load import LoadError, LoadSpec, run
from bench.results import Bar, Figure, Result
from bench.samples import Windows, compared
from bench.scenario import Scenario
from bench.servers import Contender
from bench.setting import Say, conditions_of, load_spec, ok_per_s, watched_cores
from bench.story_candidates import approval, signed_statements
from bench.story_desk import Desk
from bench.story_people import People
from bench.swap import NAME, mixed, pack_marked
from gateway.packing import Decision, Wishes
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from governance import policy_chain
from governance.dsse import Envelope
from governance.policy import Policy
from governance.service.client import Client
from governance.wire import admin_pb2, governance_pb2

# As short as the statistics allow: what is measured here is the act, not the comparison.
SHADOW: Final = """\
alpha = "0.2"
disagreement_limit = "0.2"
error_limit = "0.2"
shed_limit = "0.2"
latency_ratio = "10"
block_ms = 1
min_hours = 0
n_min = 100
n_max = 20000
window_pairs = 100
caller_share = "1"
caller_pairs_per_hour = 1000000
"""
COMPARISON_S: Final = 30.0
# A comparison has a window of its own, at a load that leaves it time: it is not what is measured.
COMPARING_RATE: Final = 3000.0
COMPARING_S: Final = 6.0
# Between two looks at who answers: the figure is so much too long, and the looking costs a core
# that serves no more than a tenth.
LOOK_S: Final = 0.01


@dataclass
class Fleet:
    """One gateway under governance, and the people who act on it, by their own connections."""

    desk: Desk
    people: People
    server: Contender
    repository: Path
    digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        self._stub = stubs.GRPCInferenceServiceStub(self._channel)
        self._asked = pb.ModelInferRequest.FromString(workload.encode_rows(NAME, models.rows(1))[0])
        signed = Envelope.from_json((self.desk.folder / "policy.json").read_bytes())
        self.policy: Policy = policy_chain.read(signed)
        self._clients = {
            name: Client(self.desk.admin, self.people[name]) for name in ("olga", "tom", "dora")
        }

    def close(self) -> None:
        """Close every connection."""
        self._channel.close()
        for client in self._clients.values():
            client.__exit__(None, None, None)

    def call(self, name: str, request: Any, method: str) -> Any:
        """Somebody's call of the governance service."""
        return self._clients[name].call(request, method)

    def answering(self) -> str:
        """The digest of the model that answers now; empty if none does, as before the first."""
        try:
            told = self._stub.ModelInfer(self._asked, timeout=5)
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                raise
            return ""
        return str(told.parameters["sluicegate_digest"].string_param)

    def submit(self, version: int) -> str:
        """Pack a version and hand it in; its digest."""
        wishes = Wishes(decision=Decision("score", 0.5, ("no", "yes")))
        digest = pack_marked(self.repository, version, wishes)
        self.digests[str(version)] = digest
        made, tested = signed_statements(NAME, digest, self.people.signer("tom"))
        bundle = self.desk.folder / f"evidence-{version}"
        self.desk.run("tom", "bundle", "create", bundle, "--model", NAME, "--candidate", digest)
        files = [self.desk.folder / f"{name}-{version}.json" for name in ("made", "tested")]
        for path, envelope in zip(files, (made, tested), strict=True):
            path.write_bytes(envelope.to_json())
        told = self.desk.run("tom", "bundle", "add", bundle, *files)
        words: tuple[object, ...] = ("candidate", "submit", NAME, version)
        words += ("--provenance", files[0], "--evaluation", files[1])
        words += ("--bundle", told["digest"], "--evidence", bundle)
        self.desk.run("tom", *words, cert=self.people["tom"])
        return digest

    def sign(self, action: str, digest: str, *names: str) -> bytes:
        """An approval that holds now, as bytes."""
        found = self.call("dora", admin_pb2.ListModelsRequest(model=NAME), "ListModels").candidates
        known = next(c for c in found if c.digest == digest)
        live = [c.digest for c in found if c.state in ("live", "validated")]
        head = self.call("dora", governance_pb2.LedgerHeadRequest(), "LedgerHead")
        shown = {
            "candidate": digest,
            "incumbent": live[0] if live else None,
            "report": known.report or None,
            "evidence": known.bundle,
            "ledger": f"{head.size}:{head.root}",
        }
        signers = [self.people.signer(name) for name in names]
        return approval(action, NAME, shown, self.policy, *signers).to_json()

    def compare(self, digest: str) -> float:
        """Let a candidate be compared until it has passed; seconds that it took.

        Raises:
            LoadError: it has not.

        """
        begun = time.monotonic()
        signed = self.sign("shadow", digest, "olga")
        asked = admin_pb2.StartShadowRequest(model=NAME, candidate=digest, approvals=[signed])
        self.call("olga", asked, "StartShadow")
        while time.monotonic() - begun < COMPARISON_S:
            time.sleep(0.25)
            found = self.call("dora", admin_pb2.ListModelsRequest(model=NAME), "ListModels")
            known = next(c for c in found.candidates if c.digest == digest)
            if known.report:
                return time.monotonic() - begun
            if known.state != "shadowing":
                raise LoadError(f"the comparison of an equal model ended as {known.state}")
        raise LoadError(f"no verdict after {COMPARISON_S:g} s")

    def promote(self, digest: str, signed: bytes) -> float:
        """Make it live; ms from the call to its first answer."""
        asked = admin_pb2.PromoteRequest(model=NAME, candidate=digest, approvals=[signed])
        return self._until(digest, lambda: self.call("olga", asked, "Promote"))

    def roll_back(self, digest: str, signed: bytes) -> float:
        """Go back to `digest`; ms from the call to its first answer."""
        asked = admin_pb2.RollbackRequest(model=NAME, approvals=[signed])
        return self._until(digest, lambda: self.call("olga", asked, "Rollback"))

    def _until(self, digest: str, act: Callable[[], object]) -> float:
        """ms from an act's beginning until a model answers; it is asked all the while."""
        failed: list[BaseException] = []

        def acting() -> None:
            try:
                act()
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=acting)
        begun = time.monotonic()
        thread.start()
        while self.answering() != digest:
            if failed or time.monotonic() - begun > 10:
                break
            time.sleep(LOOK_S)
        took = 1e3 * (time.monotonic() - begun)
        thread.join()
        if failed:
            raise failed[0]
        if self.answering() != digest:
            raise LoadError("the model does not answer after the act")
        return took


@dataclass
class Found:
    """What the windows showed."""

    steady: Windows
    promoting: Windows
    back: Windows
    promoted_ms: list[float] = field(default_factory=list)
    back_ms: list[float] = field(default_factory=list)
    compared_s: list[float] = field(default_factory=list)
    checked: int = 0
    wrong: int = 0
    runs: list[dict[str, Any]] = field(default_factory=list)


def promotion(s: Scenario, say: Say) -> Result:
    """`swaps` times: compared, then promoted and rolled back at `load_fraction` of capacity.

    Each turn has a steady window, one in whose middle the candidate is promoted, and one in whose
    middle it is rolled back. The data plane and the governance service share the server's cores.
    Every answer of all windows is kept, and its digest, version and mark must agree.
    """
    with tempfile.TemporaryDirectory(prefix="sluicegate-bench-") as name:
        folder = Path(name)
        repository = folder / "models"
        repository.mkdir()
        desk = Desk(folder, Console(file=io.StringIO()), f"127.0.0.1:{servers.free_port()}")
        people = People(desk, SHADOW)
        say(f"{s.name}: keys and a policy")
        people.arrive()
        people.agree(folder / "gov")
        config = (
            f'control_socket = "{folder}/control"\nadmin = "{desk.admin}"\n'
            f'[governance]\nhome = "{folder}/gov"\ntls = "{folder}/admin"\n'
        )
        flags = ("--io-threads", str(s.io_threads))
        with servers.sluicegate(
            repository, s.server_cores, config, flags, log=folder / "log"
        ) as server:
            servers.wait_for_port(int(desk.admin.rpartition(":")[2]), lambda: True)
            fleet = Fleet(desk, people, server, repository)
            try:
                return _told(s, *_turns(s, say, fleet))
            finally:
                fleet.close()


def _turns(s: Scenario, say: Say, fleet: Fleet) -> tuple[Found, float, float]:
    first = fleet.submit(1)
    fleet.promote(first, fleet.sign("promote", first, "dora", "greta"))
    folder = fleet.desk.folder
    requests, responses = folder / "requests.bin", folder / "responses.bin"
    workload.write_requests(requests, workload.encode_rows(NAME, models.rows(256)))
    say(f"{s.name}: capacity")
    capacity = ok_per_s(run(load_spec(s, requests, in_flight=64), fleet.server.port))
    rate, witness = s.load_fraction * capacity, watched_cores(s)
    steady, promoting, back = (
        Windows(name, s.load_fraction, bool(witness))
        for name in ("steady", "with a promotion", "with a rollback")
    )
    found = Found(steady, promoting, back)

    def window(
        what: str,
        turn: int,
        act: Callable[[], None] | None = None,
        kept: Windows | None = None,
    ) -> None:
        say(f"{s.name}: turn {turn + 1} of {s.swaps}, {what}")
        samples = folder / "samples.bin"
        more = {"rate": rate, "seed": turn + 1, "samples": samples, "witness": witness}
        spec = load_spec(s, requests, responses=responses, **more)
        if what == "comparing":
            spec = replace(spec, rate=COMPARING_RATE, duration_s=COMPARING_S)
        report = _during(spec, fleet.server.port, act)
        found.runs.append({"window": what, "turn": turn, **report})
        if what != "comparing":
            seen, wrong = mixed(responses, fleet.digests)
            found.checked += seen
            found.wrong += wrong
        if kept is not None:
            kept.add(samples, report)

    def compare(digest: str) -> None:
        found.compared_s.append(fleet.compare(digest))

    def promoted(digest: str, signed: bytes) -> None:
        found.promoted_ms.append(fleet.promote(digest, signed))

    def rolled_back(signed: bytes) -> None:
        found.back_ms.append(fleet.roll_back(first, signed))

    for turn in range(s.swaps):
        digest = fleet.submit(turn + 2)
        window("comparing", turn, partial(compare, digest))
        window("steady", turn, None, found.steady)
        signed = fleet.sign("promote", digest, "dora", "greta")
        window("promoting", turn, partial(promoted, digest, signed), found.promoting)
        signed = fleet.sign("rollback", digest, "olga")
        window("rolling back", turn, partial(rolled_back, signed), found.back)
    return found, rate, capacity


def _during(spec: LoadSpec, port: int, act: Callable[[], None] | None) -> dict[str, Any]:
    """One window of load with an act in its middle; it ends when both have."""
    failed: list[BaseException] = []

    def acting() -> None:
        time.sleep(spec.warmup_s + min(1.0, spec.duration_s / 3))
        try:
            if act is not None:
                act()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=acting)
    thread.start()
    report = run(spec, port)
    thread.join()
    if failed:
        raise LoadError(f"an act under load failed: {failed[0]}") from failed[0]
    return report


def _told(s: Scenario, found: Found, rate: float, capacity: float) -> Result:
    times, back_ms = s.targets
    errors = sum(r["sent"] - r["ok"] for r in found.runs)
    figures = (
        *compared(
            "p99.9 with a promotion against steady", found.promoting, found.steady, 0.999, times
        ),
        Figure("calls that were not answered well", "", (errors,), 0, at_least=False),
        Figure("answers that mix versions", "", (found.wrong,), 0, at_least=False),
        Figure("answers checked for that", "", (found.checked,)),
        Figure("rollback, from call to first answer", "ms", tuple(found.back_ms), back_ms, False),
        Figure("slowest rollback", "ms", (max(found.back_ms),)),
        Figure("promotion, from call to first answer", "ms", tuple(found.promoted_ms)),
        Figure("comparison, from signature to report", "s", tuple(found.compared_s)),
        Figure("p99.9 with a rollback", "µs", found.back.quantiles(0.999)),
    )
    shown = found.steady, found.promoting, found.back
    bars = tuple(Bar(f"{w.name}, p99.9", w.quantile(0.999)) for w in shown)
    told = conditions_of(s, rate=rate, capacity_per_s=capacity, turns=s.swaps, arrivals="Poisson")
    return Result(s.name, s.title, told, figures, bars, "µs", tuple(found.runs))
