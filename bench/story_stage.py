"""The stage of the demo's story: the running gateway, and what its people do more than once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from bench.servers import Contender
from bench.specialists import SITE_RISK
from bench.story_candidates import Candidate, evaluation, provenance
from bench.story_desk import Desk, StoryError
from bench.story_evidence import write_documents
from bench.story_load import Traffic
from bench.story_outcome import Comparison, compared
from bench.story_people import People
from gateway.wire import open_inference_pb2 as pb
from gateway.wire import open_inference_pb2_grpc as stubs
from governance.dsse import Envelope
from governance.service.client import Client
from governance.wire import admin_pb2
from trainer.tabular import FittedTable

MODEL: Final = SITE_RISK.name
COMPARISON_S: Final = 120.0


@dataclass
class Stage:
    """The running gateway and who acts on it."""

    desk: Desk
    people: People
    fitted: FittedTable
    models: Path
    server: Contender
    message: bytes
    live: str | None = None
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
        desk.run(
            "tom", "bundle", "create", bundle, "--model", MODEL, "--candidate", candidate.digest
        )
        packed, documents = self.models / MODEL / str(number), desk.folder / f"documents-{number}"
        files = write_documents(documents, candidate, packed, self.fitted, self.live)
        told = desk.run("tom", "bundle", "add", bundle, made, tested, *files)
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
        words = self.asking(candidate, action, file)
        for name in names:
            self.desk.run(name, *self.signing(name, report), *words)
            words = ("--add", file)
        return file

    def signing(self, name: str, report: Path | None) -> tuple[object, ...]:
        """How a person's `approve` begins."""
        words: tuple[object, ...] = ("approve", "--policy", self.desk.folder / "policy.json")
        words += ("--key", self.people.key(name), "--yes")
        return (*words, "--report", report) if report else words

    def asking(self, candidate: Candidate, action: str, out: Path) -> tuple[object, ...]:
        """How the first one's goes on."""
        shown = self.show(candidate)
        words: tuple[object, ...] = ("--action", action, "--model", MODEL)
        words += ("--candidate", candidate.digest, "--incumbent", shown["incumbent"])
        if action != "rollback":
            words += ("--evidence", shown["evidence"])
        return (*words, "--ledger", shown["ledger"], "--out", out)

    def compare(self, candidate: Candidate, traffic: Traffic, wanted: str) -> Comparison:
        """Olga signs and starts a comparison, and watches it to its end.

        Raises:
            StoryError: its verdict is not the wanted one.

        """
        desk, olga = self.desk, self.people["olga"]
        signed = self.approve(candidate, "shadow", f"shadow-{candidate.version}.json", "olga")
        words = ("shadow", "start", MODEL, candidate.digest, "--approval", signed)
        desk.run("olga", *words, cert=olga)
        begun, last, told_at = traffic.clock, None, -1.0
        desk.typed("olga", "sluicegate", "shadow", "status", MODEL, "--watch")
        with Client(desk.admin, olga) as client:
            for last in client.stream(admin_pb2.ShadowStatusRequest(model=MODEL), "WatchShadow"):
                # The last word has the verdict, and counts from a look before.
                if last.ended:
                    break
                passed = traffic.clock - begun
                if passed - told_at >= 2:
                    told_at = passed
                    desk.console.print(f"  {passed:4.0f} s  {_status(last)}", highlight=False)
                if passed > COMPARISON_S:
                    raise StoryError(f"no verdict after {COMPARISON_S:g} s: {_status(last)}")
        if last is None or not last.ended:
            raise StoryError("the comparison was not seen to its end")
        self.marks[f"version {candidate.version}: {last.verdict}"] = traffic.clock
        file = desk.folder / f"report-{candidate.version}.json"
        desk.run("dora", "fetch", last.report, "--out", file, cert=self.people["dora"])
        found = compared(f"version {candidate.version}", file, traffic.clock - begun)
        why = "; ".join(found.reasons)
        if found.verdict != wanted:
            raise StoryError(f"{found.of} got {found.verdict} and not {wanted}: {why}")
        desk.tell(f"{found.verdict}: {why}")
        return found

    def promote(self, candidate: Candidate, signed: Path) -> None:
        """Olga makes a candidate live, and it answers."""
        words = ("promote", MODEL, candidate.digest, "--approval", signed)
        self.desk.run("olga", *words, cert=self.people["olga"])
        self.expect(candidate.digest)
        self.live = candidate.digest

    def refuse(self, what: str, reason: str, *words: object, who: str = "olga") -> None:
        """Run a command of somebody's that must be refused, for this reason."""
        told = self.desk.run(who, *words, cert=self.people[who], refused=True)
        if told is None or told["reason"] != reason:
            raise StoryError(f"{what} was not refused for {reason}: {told}")
        self.desk.tell(f"refused ({reason}): {told['error']}")
        self.refused.append((what, f"{told['error']} ({reason})"))


def _status(told: Any) -> str:
    gate = next(g for g in told.gates if g.gate == "disagreement")
    latency = next(g for g in told.gates if g.gate == "latency")
    low, high = (f"{float(value):.2%}" for value in (gate.low, gate.high))
    needed = f", {gate.pairs_needed:,} more needed" if gate.HasField("pairs_needed") else ""
    # What is not shown yet the counts say; what keeps them from counting they do not.
    more = "".join(f"; {r.sentence}" for r in told.reasons if not r.reason.endswith("_not_shown"))
    return (
        f"{told.verdict}: {gate.events} of {gate.trials:,} pairs differ ({low} to {high}{needed}); "
        f"{latency.events} of {latency.trials} latency windows good{more}"
    )
