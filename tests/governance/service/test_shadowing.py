"""Comparisons: started by a signature, counted once, ended by a signed report."""

import pytest

from governance.errors import GovernanceError
from governance.service.samples import Pairing, merkle_root
from governance.service_verifier import verify_shadow_report
from governance.shadow.gates import parse_policy
from governance.shadow.sampling import commitment
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.statements import parse
from tests.governance.service.conftest import start
from tests.governance.service.double import complete
from tests.governance.service.stage import SHADOW, Stage


def report_of(stage: Stage, candidate: str) -> ShadowReport:
    digest = stage.authority.candidate(stage.model, candidate).report
    assert digest is not None
    return parse(stage.home.statement(digest).payload, ShadowReport).predicate


def agree(stage: Stage, first: int, count: int) -> None:
    stage.double.tell(stage.model, [(n, complete()) for n in range(first, first + count)])


def test_a_candidate_that_agrees_passes_with_a_report_that_an_auditor_recomputes(
    stage: Stage, passed: list[str]
) -> None:
    said = report_of(stage, passed[1])
    assert (said.verdict, said.n, said.d) == ("PASS", 1000, 0)
    assert verify(said).outcome == "PASS"
    assert said.shift is not None
    assert (said.shift.edges, said.shift.incumbent) == (("0.75",), (1000, 0))
    assert said.seed is not None
    seeds = [r for r in stage.authority.ledger.reader.rows() if r.kind == "seed"]
    assert commitment(bytes.fromhex(said.seed)).encode() in seeds[0].body
    (samples,) = (stage.home.root / "samples" / stage.model).glob("*.jsonl")
    lines = samples.read_bytes().splitlines()
    assert merkle_root(iter(lines)) == said.sample_root
    assert b"bidder" not in samples.read_bytes()
    verify_shadow_report(
        stage.home.statement(str(stage.authority.candidate(stage.model, passed[1]).report)),
        policy=stage.by,
        model=stage.model,
        candidate=passed[1],
        incumbent=passed[0],
        audience=stage.by.audience,
        now=stage.clock,
        revocations=stage.authority.revocations(),
    )
    assert stage.double.state()["shadows"] == {}


def test_a_candidate_that_differs_fails_and_cannot_be_promoted_even_with_signatures(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    ends = [(n, complete(candidate=n % 2 == 0)) for n in range(400)]
    stage.double.tell(stage.model, ends)
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, digests[1]).state == "rejected"
    fake = "sha256:" + "1" * 64
    approval = stage.approval("promote", digests[1], "dora", "greta", shadow_report=fake)
    with pytest.raises(GovernanceError) as error:
        stage.promotion.promote(stage.model, digests[1], [approval])
    assert error.value.reason == "no_shadow_report"


def test_nobody_shadows_without_an_operators_signature(stage: Stage, digests: list[str]) -> None:
    with pytest.raises(GovernanceError) as error:
        stage.shadowing.start(
            stage.model, digests[1], [stage.approval("shadow", digests[1], "dora")]
        )
    assert error.value.reason in ("too_few_persons", "missing_role")
    assert stage.shadowing.models == []
    assert stage.double.state()["shadows"] == {}


def test_a_restart_goes_on_and_counts_nothing_twice(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    agree(stage, 0, 60)
    stage.shadowing.tick()
    stage.reopen()
    assert stage.shadowing.told(stage.model)["counts"]["complete"] == 60
    agree(stage, 60, 40)
    stage.shadowing.tick()
    # Told again, as after an answer that was lost on its way.
    agree(stage, 60, 40)
    stage.shadowing.tick()
    told = stage.shadowing.told(stage.model)
    assert (told["counts"]["complete"], told["attempt"]) == (100, 1)


def test_a_gateway_that_restarted_is_told_to_shadow_again(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    agree(stage, 0, 50)
    stage.shadowing.tick()
    stage.double.forget_shadow(stage.model)
    stage.shadowing.tick()
    agree(stage, 0, 50)
    stage.shadowing.tick()
    told = stage.shadowing.told(stage.model)
    assert (told["counts"]["complete"], told["attempt"]) == (100, 1)
    assert stage.double.state()["shadows"][stage.model]["run"].endswith(".2")


def test_a_pair_whose_end_never_comes_was_shed_and_so_is_what_was_lost(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    agree(stage, 0, 50)
    stage.double.tell(stage.model, [(50, {})], lost=3)
    stage.shadowing.tick()
    assert stage.shadowing.told(stage.model)["counts"]["shed"] == 3
    stage.clock += 11
    stage.shadowing.tick()
    counts = stage.shadowing.told(stage.model)["counts"]
    assert (counts["shed"], counts["complete"]) == (4, 50)


def test_a_request_that_a_later_one_beat_is_set_aside_unseen(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    state = stage.double.state()
    found = state["shadows"][stage.model]["found"]
    found["closed"] = [{"block": 0, "requests": 9, "pair": 4}]
    found["ends"] = [
        {"block": 0, "sequence": n, "hash": 9 - n, **complete(candidate=n == 4)} for n in (0, 2, 4)
    ]
    stage.double._keep(state)
    stage.shadowing.tick()
    counts = stage.shadowing.told(stage.model)["counts"]
    assert (counts["complete"], counts["disagreed"]) == (1, 0)


def test_errors_and_time_outs_of_the_candidate_speak_against_it(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    kinds = ["candidate_error", "candidate_timeout", "shed", "incumbent_error"]
    ends = [(n, {"end": kind, "caller": "c", "segment": None}) for n, kind in enumerate(kinds)]
    stage.double.tell(stage.model, ends)
    stage.shadowing.tick()
    counts = stage.shadowing.told(stage.model)["counts"]
    assert [counts[kind] for kind in kinds] == [1, 1, 1, 1]


def test_one_caller_is_counted_so_many_times_an_hour() -> None:
    pairing = Pairing(parse_policy({**SHADOW, "caller_pairs_per_hour": 30}), bytes(32), 1)
    closed = [{"block": n, "requests": 1, "pair": 0} for n in range(100)]
    ends = [{"block": n, "sequence": 0, **complete()} for n in range(100)]
    assert len(pairing.take({"closed": closed, "ends": ends, "lost": 0}, 0)) == 30
    assert pairing.over_cap == 70
    hour = 3_600_000
    closed = [{"block": hour + n, "requests": 1, "pair": 0} for n in range(10)]
    ends = [{"block": hour + n, "sequence": 0, **complete()} for n in range(10)]
    assert len(pairing.take({"closed": closed, "ends": ends, "lost": 0}, 0)) == 10


def test_pairs_that_could_not_be_written_are_counted_once_they_can(
    stage: Stage, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start(stage, digests[1])
    agree(stage, 0, 50)

    def full(*_: object) -> int:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="no space"):
        patched.setattr("governance.service.samples.os.write", full)
        stage.shadowing.tick()
    assert stage.shadowing.told(stage.model)["counts"]["complete"] == 0
    stage.shadowing.tick()
    assert stage.shadowing.told(stage.model)["counts"]["complete"] == 50


def test_a_stopped_comparison_has_spent_its_attempt(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    stage.shadowing.stop(stage.model)
    assert stage.authority.candidate(stage.model, digests[1]).state == "exported"
    start(stage, digests[1])
    assert stage.shadowing.told(stage.model)["attempt"] == 2


def test_two_that_cannot_be_compared_spend_the_attempt_and_leave_no_run(
    stage: Stage, digests: list[str]
) -> None:
    stage.double.refuses = True
    with pytest.raises(GovernanceError) as error:
        start(stage, digests[1])
    assert error.value.reason == "plane_refused"
    assert stage.shadowing.models == []
    assert stage.authority.candidate(stage.model, digests[1]).state == "exported"


def test_the_seed_is_told_to_nobody_before_the_report(stage: Stage, digests: list[str]) -> None:
    start(stage, digests[1])
    run = stage.home.run(stage.model)
    assert run is not None
    assert run["seed"] not in str(stage.shadowing.told(stage.model))
    assert (stage.home.root / "runs" / f"{stage.model}.json").stat().st_mode & 0o077 == 0


def test_when_nothing_is_decided_in_time_the_report_says_inconclusive(
    stage: Stage, digests: list[str]
) -> None:
    start(stage, digests[1])
    agree(stage, 0, 10)
    stage.shadowing.tick()
    stage.clock += 8 * 24 * 3600
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, digests[1]).state == "exported"
    rows = [r for r in stage.authority.ledger.reader.rows() if r.kind == "shadow_result"]
    assert b"INCONCLUSIVE" in rows[0].body
