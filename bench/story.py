"""The demo's governance story: a model is replaced on live traffic, and not without people.

From an empty folder: keys, policy, first model; a good candidate is compared, signed for and made
live; a bad one fails its comparison and stays out whatever is signed; a forged approval is refused;
the model before comes back; an audit recomputes it all. A step that comes out otherwise than told
ends the story with a StoryError.
"""

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import grpc
from rich.console import Console

from bench import servers
from bench.outcome import duration
from bench.specialists import SITE_RISK, requests
from bench.story_candidates import Candidate, approval, moved, version
from bench.story_desk import Desk, StoryError
from bench.story_load import Traffic, failed, windows
from bench.story_outcome import Comparison, Story, phases
from bench.story_people import People
from bench.story_stage import MODEL, Stage
from bench.workload import write_requests
from governance import policy_chain
from governance.dsse import Envelope, Signature
from governance.keys import key_id
from governance.service.client import Client
from governance.wire import admin_pb2
from trainer.tabular import FittedTable

RATE: Final = 1000.0
# By so much the good candidate's threshold is lower, and so many decisions the bad one turns.
NUDGE: Final = 1e-6
BAD_SHARE: Final = 0.02
# Traffic goes on for so long after the last act, so that there is something to see.
AFTER_S: Final = 4.0
ROLLED_BACK_S: Final = 5.0


def tell(fitted: FittedTable, console: Console) -> Story:
    """Play the story with the fitted site-risk specialist, in a temporary folder.

    Raises:
        StoryError: a step came out otherwise than told.
        LoadError, ServerError, GovernanceError: something did not run, or was refused.

    """
    begun = time.monotonic()
    with TemporaryDirectory(prefix="sluicegate-story-") as name:
        folder = Path(name)
        models = folder / "models"
        models.mkdir()
        desk = Desk(folder, console, f"127.0.0.1:{servers.free_port()}")
        desk.heading("1. Keys, a policy, and the first model")
        people = People(desk)
        people.arrive()
        people.agree(folder / "gov")
        encoded = requests(SITE_RISK, fitted)
        write_requests(folder / "requests.bin", encoded)
        config = (
            f'control_socket = "{folder}/control"\nadmin = "{desk.admin}"\n'
            f'[governance]\nhome = "{folder}/gov"\ntls = "{folder}/admin"\n'
        )
        desk.typed("ops", "sluicegate", "serve", "--config", "sluicegate.toml")
        with servers.sluicegate(models, config=config, log=folder / "log") as server:
            # The governance service is a process that the server starts.
            servers.wait_for_port(int(desk.admin.rpartition(":")[2]), lambda: True)
            stage = Stage(desk, people, fitted, models, server, encoded[0])
            try:
                story = _acts(stage, folder / "requests.bin")
            except grpc.RpcError as error:
                raise StoryError(f"a call of the story's own failed: {error}") from error
            finally:
                stage.close()
        agreed = _audit(desk, people)
    return replace(story, audit=agreed, seconds=time.monotonic() - begun)


def _acts(stage: Stage, messages: Path) -> Story:
    first = version(SITE_RISK, stage.fitted, stage.models, 1, stage.fitted.threshold)
    _begin(stage, first)
    with Traffic(stage.desk.folder, messages, stage.server.port, RATE) as traffic:
        good, passed, (asked, done) = _good(stage, traffic)
        failing = _bad(stage, good, traffic)
        _forged(stage, good)
        back_ms = _back(stage, good, first, traffic)
        time.sleep(AFTER_S)
        traffic.end()
    answers, wrong = traffic.answers(), failed(traffic.reports)
    if wrong:
        raise StoryError("calls failed: " + ", ".join(f"{n} {k}" for k, n in wrong.items()))
    stage.desk.tell(f"{len(answers.due_s):,} calls from first to last, none failed")
    measured = phases(answers, asked, done)
    for phase in measured:
        stage.desk.tell(
            f"latency {phase.name} the promotion: "
            f"p50 {duration(phase.p50_us)}, p99 {duration(phase.p99_us)}"
        )
    return Story(
        comparisons=(passed, failing),
        phases=measured,
        windows=windows(answers),
        marks=tuple(stage.marks.items()),
        answered=len(answers.due_s),
        refused=tuple(stage.refused),
        promotion_ms=1e3 * (done - asked),
        rollback_ms=back_ms,
        audit="",
        seconds=0.0,
    )


def _begin(stage: Stage, first: Candidate) -> None:
    stage.submit(first)
    signed = stage.approve(first, "promote", "first.json", "dora", "greta")
    stage.promote(first, signed)
    stage.desk.tell("two people signed, and version 1 answers")


def _good(stage: Stage, traffic: Traffic) -> tuple[Candidate, Comparison, tuple[float, float]]:
    """The candidate, how it compared, and when its promotion was asked for and done."""
    desk = stage.desk
    desk.heading(f"2. A good candidate, on {RATE:,.0f} real requests a second from here on")
    good = version(SITE_RISK, stage.fitted, stage.models, 2, stage.fitted.threshold - NUDGE)
    stage.submit(good)
    passed = stage.compare(good, traffic, "PASS")
    people, report = ("dora", "greta"), passed.file
    signed = stage.approve(good, "promote", "promote-2.json", *people, report=report)
    asked = traffic.clock
    stage.promote(good, signed)
    done = stage.marks["promoted"] = traffic.clock
    took = 1e3 * (done - asked)
    desk.tell(f"verified, logged and swapped in {took:,.0f} ms under load; version 2 answers")
    return good, passed, (asked, done)


def _bad(stage: Stage, good: Candidate, traffic: Traffic) -> Comparison:
    desk, people = stage.desk, stage.people
    desk.heading("3. A bad candidate: one decision in fifty differs")
    threshold = moved(stage.fitted.held_out_scores, stage.fitted.threshold, BAD_SHARE)
    bad = version(SITE_RISK, stage.fitted, stage.models, 3, threshold)
    stage.submit(bad)
    failing = stage.compare(bad, traffic, "FAIL")
    out = desk.folder / "promote-3.json"
    words = stage.signing("dora", failing.file)
    words += stage.asking(bad, "promote", out)
    stage.refuse("signing for a candidate that failed", "verdict_not_pass", *words, who="dora")
    desk.note("dora and greta sign all the same, by a program of their own")
    by = policy_chain.read(Envelope.from_json((desk.folder / "policy.json").read_bytes()))
    shown = stage.show(bad) | {"report": failing.report}
    both = people.signer("dora"), people.signer("greta")
    stage.file(out.name, approval("promote", MODEL, shown, by, *both))
    words = ("promote", MODEL, bad.digest, "--approval", out)
    # A candidate that was rejected has no report that counts.
    stage.refuse("promoting it with both signatures", "no_shadow_report", *words)
    stage.expect(good.digest)
    desk.tell(f"version 3 is {stage.show(bad)['state']}; version 2 answers")
    return failing


def _forged(stage: Stage, good: Candidate) -> None:
    stage.desk.heading("4. A forged approval: mallory's key under olga's name")
    folder = stage.desk.folder
    by = policy_chain.read(Envelope.from_json((folder / "policy.json").read_bytes()))
    forged = forge(approval("rollback", MODEL, stage.show(good), by), stage.people)
    words = ("rollback", MODEL, "--approval", stage.file("forged.json", forged))
    stage.refuse("a rollback signed by another key", "no_valid_signature", *words)
    stage.expect(good.digest)


def forge(unsigned: Envelope, people: People) -> Envelope:
    """The statement with mallory's signature and olga's key id."""
    signature = people.signer("mallory").sign(unsigned.signed_bytes)
    named = key_id(people.signer("olga").public_key)
    return replace(unsigned, signatures=(Signature(signature, named),))


def _back(stage: Stage, good: Candidate, first: Candidate, traffic: Traffic) -> float:
    """Roll back; ms from the call to the first answer by the model before.

    The call is the command's, on a connection that is open already.
    """
    desk = stage.desk
    desk.heading("5. Back")
    signed = stage.approve(good, "rollback", "back.json", "olga")
    desk.typed("olga", "sluicegate", "rollback", MODEL, "--approval", signed)
    asked = admin_pb2.RollbackRequest(model=MODEL, approvals=[signed.read_bytes()])
    with Client(desk.admin, stage.people["olga"]) as client:
        client.call(admin_pb2.StatusRequest(), "Status")
        begun = time.monotonic()
        done = client.call(asked, "Rollback")
        while stage.answering() != first.digest:
            if time.monotonic() - begun > ROLLED_BACK_S:
                raise StoryError("the model before does not answer after a rollback")
        took = 1e3 * (time.monotonic() - begun)
    stage.marks["rolled back"] = traffic.clock
    desk.tell(f"version {done.version} answers again, {took:,.0f} ms after it was asked for")
    return took


def _audit(desk: Desk, people: People) -> str:
    """What the audit looked at."""
    folder = desk.folder
    desk.heading("6. Everything once more, from the files alone")
    words: tuple[object, ...] = ("audit", folder / "gov", "--pin", people.pin)
    words += ("--witness", folder / "witness" / "heads.jsonl", "--models", folder / "models")
    told = desk.run("auditor", *words)
    entries, checks = told["ledger"]["size"], sum(told["checks"].values())
    agreed = f"{entries} ledger entries, {told['statements']} statements, {checks} checks"
    desk.tell(f"agrees: {agreed}")
    for line in told["open"]:
        desk.note(f"open: {line['sentence']}")
    return agreed
