"""The demo's governance story: a model is replaced on live traffic, and not without people.

From an empty folder: keys, policy, first model; a good candidate is compared, signed for and made
live; a bad one fails its comparison and stays out whatever is signed; a forged approval is refused;
the model before comes back; an audit recomputes it all. Every step that comes out otherwise than
told ends the story with a StoryError.
"""

import time
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import grpc
from rich.console import Console

from bench import servers
from bench.outcome import duration
from bench.servers import Contender
from bench.specialists import SITE_RISK, requests
from bench.story_candidates import Candidate, approval, evaluation, moved, provenance, version
from bench.story_desk import Desk, StoryError
from bench.story_load import Answers, Traffic, Window, failed, windows
from bench.story_people import People
from bench.workload import write_requests
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from governance import policy_chain
from governance.dsse import Envelope, Signature
from governance.keys import key_id
from governance.service.client import Client
from governance.shadow.evalue import confidence_sequence
from governance.shadow.gates import parse_policy
from governance.shadow_report import ShadowReport
from governance.statements import parse
from governance.wire import admin_pb2
from trainer.tabular import FittedTable

RATE: Final = 1000.0
MODEL: Final = SITE_RISK.name
# By so much the good candidate's threshold is lower, and so many decisions the bad one turns.
NUDGE: Final = 1e-6
BAD_SHARE: Final = 0.02
# Latency before and after a swap is that of so many seconds.
SIDE_S: Final = 4.0
COMPARISON_S: Final = 120.0
ROLLED_BACK_S: Final = 5.0


@dataclass(frozen=True)
class Comparison:
    """How a comparison ended, from its signed report in `file`, whose payload's digest is `report`.

    `d` of `n` decisions differed; the rate lies between `low` and `high` by the confidence sequence
    of the attempt; `reasons` are sentences.
    """

    of: str
    file: Path
    report: str
    verdict: str
    n: int
    d: int
    limit: Fraction
    low: float
    high: float
    reasons: tuple[str, ...]
    seconds: float


def compared(of: str, file: Path, seconds: float) -> Comparison:
    """Read a comparison's signed report; `seconds` is how long it took."""
    envelope = Envelope.from_json(file.read_bytes())
    said = parse(envelope.payload, ShadowReport).predicate
    limits = parse_policy(said.shadow_policy)
    low, high = confidence_sequence(said.n, said.d, limits.alpha_of(said.attempt))
    return Comparison(
        of,
        file,
        envelope.digest,
        said.verdict,
        said.n,
        said.d,
        limits.disagreement_limit,
        float(low),
        float(high),
        tuple(reason.partition(": ")[2] for reason in said.reasons),
        seconds,
    )


@dataclass(frozen=True)
class Phase:
    """Latency in one part of the story, µs; None: too few answers to tell."""

    name: str
    p50_us: float | None
    p99_us: float | None


@dataclass(frozen=True)
class Story:
    """What the story showed. `marks`: seconds into it by what happened then."""

    comparisons: tuple[Comparison, ...]
    phases: tuple[Phase, ...]
    windows: tuple[Window, ...]
    marks: tuple[tuple[str, float], ...]
    answered: int
    refused: tuple[tuple[str, str], ...]
    promotion_ms: float
    rollback_ms: float
    audit: str
    seconds: float


@dataclass
class Stage:
    """The running gateway and who acts on it."""

    desk: Desk
    people: People
    fitted: FittedTable
    models: Path
    home: Path
    server: Contender
    message: bytes
    marks: dict[str, float] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.server.port}")
        self._stub = stubs.GRPCInferenceServiceStub(self._channel)
        self._request = pb.ModelInferRequest.FromString(self.message)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def answering(self) -> str:
        """The digest of the model that answers now."""
        told = self._stub.ModelInfer(self._request, timeout=5)
        return str(told.parameters["sluicegate_digest"].string_param)

    def expect(self, digest: str) -> None:
        """Raises StoryError: another model answers."""
        if (found := self.answering()) != digest:
            raise StoryError(f"{found} answers, and not {digest}")

    def file(self, name: str, envelope: Envelope) -> Path:
        """Keep a statement in the story's folder."""
        path = self.desk.folder / name
        path.write_bytes(envelope.to_json())
        return path

    def show(self, candidate: Candidate) -> dict[str, Any]:
        """What an approval of a candidate has to name."""
        words = ("candidate", "show", MODEL, candidate.digest)
        found: dict[str, Any] = self.desk.run("dora", *words, cert=self.people["dora"], show=False)
        return found

    def submit(self, candidate: Candidate) -> None:
        """Tom hands a candidate in with its statements and its evidence."""
        desk, number, tom = self.desk, candidate.version, self.people.signer("tom")
        made = self.file(f"prov-{number}.json", provenance(MODEL, candidate, self.fitted, tom))
        tested = self.file(f"eval-{number}.json", evaluation(MODEL, candidate, self.fitted, tom))
        bundle = desk.folder / f"evidence-{number}"
        desk.run("tom", "bundle", "create", bundle, "--model", MODEL, "--candidate", candidate.digest)
        told = desk.run("tom", "bundle", "add", bundle, made, tested)
        words: tuple[object, ...] = ("candidate", "submit", MODEL, number, "--provenance", made)
        words += ("--evaluation", tested, "--bundle", told["digest"], "--evidence", bundle)
        desk.run("tom", *words, cert=self.people["tom"])
        desk.tell(
            f"version {number} is registered with its evidence: threshold "
            f"{candidate.threshold:.6f}, {candidate.differs:,} of {candidate.rows:,} held-out "
            "decisions differ from version 1"
        )

    def approve(
        self, candidate: Candidate, action: str, out: str, *names: str, report: Path | None = None
    ) -> Path:
        """People sign for an action, the first by a new approval and the others in its file."""
        file = self.desk.folder / out
        words = self.asking(candidate, action, file, report)
        for name in names:
            self.desk.run(name, *self.signing(name, report), *words)
            words = ("--add", file)
        return file

    def signing(self, name: str, report: Path | None) -> tuple[object, ...]:
        """How a person's `approve` begins."""
        words: tuple[object, ...] = ("approve", "--policy", self.desk.folder / "policy.json")
        words += ("--key", self.people.key(name), "--yes")
        return (*words, "--report", report) if report else words

    def asking(
        self, candidate: Candidate, action: str, out: Path, report: Path | None
    ) -> tuple[object, ...]:
        """How the first one's goes on."""
        shown = self.show(candidate)
        words: tuple[object, ...] = ("--action", action, "--model", MODEL)
        words += ("--candidate", candidate.digest, "--incumbent", shown["incumbent"])
        if action != "rollback":
            words += ("--evidence", shown["evidence"])
        return (*words, "--ledger", shown["ledger"], "--out", out)

    def compare(self, candidate: Candidate, clock: Traffic) -> Comparison:
        """Olga signs and starts a comparison, and watches it to its end."""
        desk, olga = self.desk, self.people["olga"]
        signed = self.approve(candidate, "shadow", f"shadow-{candidate.version}.json", "olga")
        words = ("shadow", "start", MODEL, candidate.digest, "--approval", signed)
        desk.run("olga", *words, cert=olga)
        begun, last, told_at = clock.clock, None, -1.0
        desk.typed("olga", "sluicegate", "shadow", "status", MODEL, "--watch")
        with Client(desk.admin, olga) as client:
            for last in client.stream(admin_pb2.ShadowStatusRequest(model=MODEL), "WatchShadow"):
                # The last word has the verdict, and counts from a look before.
                if last.ended:
                    break
                passed = clock.clock - begun
                if passed - told_at >= 2:
                    told_at = passed
                    desk.console.print(f"  {passed:4.0f} s  {_status(last)}", highlight=False)
                if passed > COMPARISON_S:
                    raise StoryError(f"no verdict after {COMPARISON_S:g} s: {_status(last)}")
        if last is None or not last.ended:
            raise StoryError("the comparison was not seen to its end")
        self.marks[f"version {candidate.version}: {last.verdict}"] = clock.clock
        file = desk.folder / f"report-{candidate.version}.json"
        desk.run("dora", "fetch", last.report, "--out", file, cert=self.people["dora"])
        return compared(f"version {candidate.version}", file, clock.clock - begun)

    def refuse(self, what: str, reason: str, *words: object, who: str = "olga") -> None:
        """Run a command of somebody's that must be refused, for this reason."""
        told = self.desk.run(who, *words, cert=self.people[who], refused=True)
        if told is None or told["reason"] != reason:
            raise StoryError(f"{what} was not refused for {reason}: {told}")
        self.desk.tell(f"refused ({reason}): {told['error']}")
        self.refused.append((what, f"{told['error']} ({reason})"))


def tell(fitted: FittedTable, console: Console) -> Story:
    """Play the story with the fitted site-risk specialist.

    Raises:
        StoryError: a step came out otherwise than told.
        LoadError, ServerError, GovernanceError: something did not run.

    """
    begun = time.monotonic()
    with TemporaryDirectory(prefix="sluicegate-story-") as name:
        folder = Path(name)
        (folder / "models").mkdir()
        desk = Desk(folder, console, f"127.0.0.1:{servers.free_port()}")
        desk.heading("1. Keys, a policy, and the first model")
        people = People(desk)
        people.arrive()
        people.agree(folder / "gov")
        encoded = requests(SITE_RISK, fitted)
        messages = folder / "requests.bin"
        write_requests(messages, encoded)
        config = (
            f'control_socket = "{folder}/control"\nadmin = "{desk.admin}"\n'
            f'[governance]\nhome = "{folder}/gov"\ntls = "{folder}/admin"\n'
        )
        desk.typed("ops", "sluicegate", "serve", "--config", "sluicegate.toml")
        with servers.sluicegate(folder / "models", config=config, log=folder / "log") as server:
            servers.wait_for_port(int(desk.admin.rpartition(":")[2]), lambda: True)
            stage = Stage(
                desk, people, fitted, folder / "models", folder / "gov", server, encoded[0]
            )
            try:
                story = _acts(stage, messages)
            finally:
                stage.close()
        desk.heading("6. Everything once more, from the files alone")
        words: tuple[object, ...] = ("audit", folder / "gov", "--pin", people.pin)
        words += ("--witness", folder / "witness" / "heads.jsonl", "--models", folder / "models")
        told = desk.run("auditor", *words)
        entries, checks = told["ledger"]["size"], sum(told["checks"].values())
        agreed = f"{entries} ledger entries, {told['statements']} statements, {checks} checks"
        desk.tell(f"agrees: {agreed}")
    return replace(story, audit=agreed, seconds=time.monotonic() - begun)


def _acts(stage: Stage, messages: Path) -> Story:
    desk, people = stage.desk, stage.people
    threshold = stage.fitted.threshold
    first = version(SITE_RISK, stage.fitted, stage.models, 1, threshold)
    stage.submit(first)
    signed = stage.approve(first, "promote", "first.json", "dora", "greta")
    words = ("promote", MODEL, first.digest, "--approval", signed)
    desk.run("olga", *words, cert=people["olga"])
    stage.expect(first.digest)
    desk.tell("two people signed, and version 1 answers")
    with Traffic(desk.folder, messages, stage.server.port, RATE) as traffic:
        desk.heading(
            f"2. A good candidate, on {RATE:,.0f} real requests a second from here to the end"
        )
        good = version(SITE_RISK, stage.fitted, stage.models, 2, threshold - NUDGE)
        stage.submit(good)
        passed = _verdict(stage, good, traffic, "PASS")
        signed = stage.approve(
            good, "promote", "promote-2.json", "dora", "greta", report=passed.file
        )
        at = traffic.clock
        words = ("promote", MODEL, good.digest, "--approval", signed)
        desk.run("olga", *words, cert=people["olga"])
        done = stage.marks["promoted"] = traffic.clock
        stage.expect(good.digest)
        desk.tell(f"verified, swapped and logged in {1e3 * (done - at):,.0f} ms; version 2 answers")

        desk.heading("3. A bad candidate: one decision in fifty differs")
        bad_threshold = moved(stage.fitted.held_out_scores, threshold, BAD_SHARE)
        bad = version(SITE_RISK, stage.fitted, stage.models, 3, bad_threshold)
        stage.submit(bad)
        failing = _verdict(stage, bad, traffic, "FAIL")
        out = desk.folder / "promote-3.json"
        words = stage.signing("dora", failing.file)
        words += stage.asking(bad, "promote", out, failing.file)
        stage.refuse("signing for what failed", "verdict_not_pass", *words, who="dora")
        desk.note("dora and greta sign all the same, by a program of their own")
        policy = policy_chain.read(Envelope.from_json((desk.folder / "policy.json").read_bytes()))
        both = people.signer("dora"), people.signer("greta")
        shown = stage.show(bad) | {"report": failing.report}
        stage.file(out.name, approval("promote", MODEL, shown, policy, *both))
        words = ("promote", MODEL, bad.digest, "--approval", out)
        # What was rejected has no report that counts.
        stage.refuse("promoting it with both signatures", "no_shadow_report", *words)
        stage.expect(good.digest)
        desk.tell(f"version 3 is {stage.show(bad)['state']}; version 2 answers")

        desk.heading("4. A forged approval: mallory's key under olga's name")
        unsigned = approval("rollback", MODEL, stage.show(good), policy)
        words = ("rollback", MODEL, "--approval", stage.file("forged.json", forge(unsigned, people)))
        stage.refuse("a rollback signed by another key", "no_valid_signature", *words)
        stage.expect(good.digest)

        desk.heading("5. Back")
        signed = stage.approve(good, "rollback", "back.json", "olga")
        back_ms = _back(stage, signed, first, traffic)
        time.sleep(SIDE_S)
        traffic.end()
    answers, wrong = traffic.answers(), failed(traffic.reports)
    if wrong:
        raise StoryError("calls failed: " + ", ".join(f"{n} {k}" for k, n in wrong.items()))
    desk.tell(f"{len(answers.due_s):,} calls from first to last, none failed")
    return Story(
        (passed, failing),
        _phases(answers, at, done),
        windows(answers),
        tuple(stage.marks.items()),
        len(answers.due_s),
        tuple(stage.refused),
        1e3 * (done - at),
        back_ms,
        "",
        0.0,
    )


def forge(unsigned: Envelope, people: People) -> Envelope:
    """The statement with mallory's signature and olga's key id."""
    signature = people.signer("mallory").sign(unsigned.signed_bytes)
    named = key_id(people.signer("olga").public_key)
    return replace(unsigned, signatures=(Signature(signature, named),))


def _verdict(stage: Stage, candidate: Candidate, traffic: Traffic, wanted: str) -> Comparison:
    found = stage.compare(candidate, traffic)
    if found.verdict != wanted:
        raise StoryError(
            f"version {candidate.version} got {found.verdict} and not {wanted}: "
            + "; ".join(found.reasons)
        )
    stage.desk.tell(f"{found.verdict}: " + "; ".join(found.reasons))
    return found


def _back(stage: Stage, signed: Path, first: Candidate, traffic: Traffic) -> float:
    """Roll back; ms from the command's call to the first answer by the model before."""
    asked = admin_pb2.RollbackRequest(model=MODEL, approvals=[signed.read_bytes()])
    stage.desk.typed("olga", "sluicegate", "rollback", MODEL, "--approval", signed)
    with Client(stage.desk.admin, stage.people["olga"]) as client:
        client.call(admin_pb2.StatusRequest(), "Status")
        begun = time.monotonic()
        call = client.call(asked, "Rollback")
        while stage.answering() != first.digest:
            if time.monotonic() - begun > ROLLED_BACK_S:
                raise StoryError("the model before does not answer after a rollback")
        took = 1e3 * (time.monotonic() - begun)
    stage.marks["rolled back"] = traffic.clock
    stage.desk.tell(f"version {call.version} answers again, {took:,.0f} ms after the command")
    return took


def _phases(answers: Answers, at: float, done: float) -> tuple[Phase, ...]:
    parts = (
        ("before", at - SIDE_S, at),
        ("during", at, max(done, at + 1.0)),
        ("after", max(done, at + 1.0), max(done, at + 1.0) + SIDE_S),
    )
    return tuple(
        Phase(name, answers.quantile(a, b, 0.5), answers.quantile(a, b, 0.99))
        for name, a, b in parts
    )


def _status(told: Any) -> str:
    gate = next(g for g in told.gates if g.gate == "disagreement")
    latency = next(g for g in told.gates if g.gate == "latency")
    low, high = (f"{float(value):.2%}" for value in (gate.low, gate.high))
    needed = f", {gate.pairs_needed:,} more needed" if gate.HasField("pairs_needed") else ""
    return (
        f"{told.verdict}: {gate.events} of {gate.trials:,} pairs differ ({low} to {high}{needed}); "
        f"{latency.events} of {latency.trials} latency windows good"
    )
