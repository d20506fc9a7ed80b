"""Canaries: a decided promotion answers a share of the callers first, and the same statistics
decide whether it goes on."""

import pytest

from governance.errors import GovernanceError
from governance.service.plane import PlaneError
from governance.service.samples import of_canary
from governance.shadow.statement import verify
from governance.shadow_report import ShadowReport
from governance.statements import parse
from tests.governance.service.double import complete
from tests.governance.service.stage import Stage

SHARE = 0.05


def kinds(stage: Stage) -> list[str]:
    return [row.kind for row in stage.authority.ledger.reader.rows()]


def begin(stage: Stage, candidate: str, share: float = SHARE) -> None:
    approval = stage.approval("promote", candidate, "dora", "greta")
    done = stage.promotion.promote(stage.model, candidate, [approval], share)
    assert (done.canary, done.deployment) == (True, "")


def answers(stage: Stage, count: int, differ: int = 0) -> None:
    """What the data plane tells: the canary answered, the incumbent was computed beside it."""
    ends = [(n, complete(candidate=n >= differ)) for n in range(count)]
    stage.double.tell(stage.model, ends)
    stage.clock += 60
    stage.shadowing.tick()


def refusal(act: object) -> str:
    assert callable(act)
    with pytest.raises(GovernanceError) as refused:
        act()
    return refused.value.reason


def test_a_canary_that_passes_is_live_for_all_by_itself(stage: Stage, passed: list[str]) -> None:
    begin(stage, passed[1])
    assert stage.live() == (passed[0],) * 3
    assert stage.double.state()["shadows"][stage.model]["callers"] == SHARE
    assert stage.authority.candidate(stage.model, passed[1]).state == "canary"
    told = stage.shadowing.told(stage.model)
    assert (told["canary"], told["share"]) == (True, SHARE)
    answers(stage, 1000)
    assert stage.live() == (passed[1],) * 3
    assert kinds(stage)[-4:] == ["seed", "canary", "canary_result", "promote_done"]
    assert stage.double.state()["shadows"] == {}
    assert stage.shadowing.models == []


def test_a_canary_whose_answers_differ_is_rejected_and_nobody_gets_them_any_more(
    stage: Stage, passed: list[str]
) -> None:
    begin(stage, passed[1])
    answers(stage, 1000, differ=700)
    assert stage.live() == (passed[0],) * 3
    assert stage.authority.candidate(stage.model, passed[1]).state == "rejected"
    assert stage.authority.state(stage.model).intent is None
    assert stage.double.state()["shadows"] == {}
    body = stage.authority.recorded("canary_result", _key_of_last(stage, "canary_result"))
    assert body is not None
    report = parse(stage.home.statement(body["report"]).payload, ShadowReport).predicate
    assert (report.candidate, report.incumbent) == (passed[1], passed[0])
    assert (report.verdict, verify(report).outcome) == ("FAIL", "FAIL")


def _key_of_last(stage: Stage, kind: str) -> str:
    return next(
        r.key for r in reversed(list(stage.authority.ledger.reader.rows())) if r.kind == kind
    )


def test_who_answers_and_who_is_computed_beside_are_told_apart() -> None:
    told = {
        "closed": [],
        "lost": 0,
        "ends": [
            complete(incumbent=True, candidate=False, incumbent_ns=3, candidate_ns=4),
            {"end": "incumbent_error", "block": 1},
            {"end": "candidate_error", "block": 2},
            {"end": "candidate_timeout", "block": 3},
            {"end": "shed", "block": 4},
        ],
    }
    ends = of_canary(told)["ends"]
    one = ends[0]
    assert (one["incumbent"], one["candidate"]) == (False, True)
    assert (one["incumbent_ns"], one["candidate_ns"]) == (4, 3)
    assert [end["end"] for end in ends[1:]] == [
        "candidate_error",
        "incumbent_error",
        "incumbent_error",
        "shed",
    ]


def test_a_candidate_that_fails_its_callers_fails(stage: Stage, passed: list[str]) -> None:
    begin(stage, passed[1])
    failed = {"end": "incumbent_error", "caller": "bidder", "segment": None}
    stage.double.tell(stage.model, [(n, failed if n % 2 else complete()) for n in range(1000)])
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, passed[1]).state == "rejected"


def test_a_canary_that_is_stopped_leaves_the_incumbent_and_no_open_promotion(
    stage: Stage, passed: list[str]
) -> None:
    begin(stage, passed[1])
    stage.shadowing.stop(stage.model)
    assert kinds(stage)[-1] == "promote_failed"
    assert stage.authority.candidate(stage.model, passed[1]).state == "exported"
    assert stage.live() == (passed[0],) * 3
    assert stage.double.state()["shadows"] == {}
    assert not stage.shadowing.in_canary(stage.model)


def test_a_canary_does_not_outlive_the_process_that_began_it(
    stage: Stage, passed: list[str]
) -> None:
    begin(stage, passed[1])
    stage.reopen()
    stage.shadowing.tick()
    stage.promotion.settle(stage.model)
    assert stage.authority.candidate(stage.model, passed[1]).state == "exported"
    assert stage.authority.state(stage.model).intent is None
    assert stage.double.state()["shadows"] == {}
    assert stage.live() == (passed[0],) * 3


def test_the_rounds_leave_a_canary_that_goes_on_alone(stage: Stage, passed: list[str]) -> None:
    begin(stage, passed[1])
    stage.promotion.settle(stage.model)
    assert stage.authority.candidate(stage.model, passed[1]).state == "canary"
    assert stage.shadowing.in_canary(stage.model)


def test_a_gateway_that_was_started_anew_has_lost_its_canary(
    stage: Stage, passed: list[str]
) -> None:
    begin(stage, passed[1])
    stage.double.forget_shadow(stage.model)
    stage.shadowing.tick()
    assert stage.authority.candidate(stage.model, passed[1]).state == "exported"
    assert kinds(stage)[-1] == "promote_failed"


def test_a_rollback_during_a_canary_ends_it(stage: Stage, passed: list[str]) -> None:
    stage.promote(passed[1])
    third = passed[2]
    approval = stage.approval("shadow", third, "olga")
    stage.shadowing.start(stage.model, third, [approval])
    stage.double.tell(stage.model, [(n, complete()) for n in range(1000)])
    stage.clock += 60
    stage.shadowing.tick()
    begin(stage, third)
    back = stage.approval("rollback", passed[1], "olga")
    stage.rollback.roll_back(stage.model, [back])
    stage.shadowing.tick()
    assert stage.live() == (passed[0],) * 3
    assert stage.authority.candidate(stage.model, third).state == "exported"
    assert stage.double.state()["shadows"] == {}
    assert stage.shadowing.models == []


def test_a_canary_that_the_gateway_refuses_takes_its_promotion_back(
    stage: Stage, passed: list[str]
) -> None:
    stage.double.refuses = True
    approval = stage.approval("promote", passed[1], "dora", "greta")
    with pytest.raises(PlaneError):
        stage.promotion.promote(stage.model, passed[1], [approval], SHARE)
    stage.double.refuses = False
    assert stage.authority.state(stage.model).intent is None
    assert kinds(stage)[-1] == "promote_failed"
    assert stage.shadowing.models == []


@pytest.mark.parametrize("share", [-0.1, 0.51, 2.0, float("nan")])
def test_a_share_that_is_none_is_refused_before_anything_is_logged(
    stage: Stage, passed: list[str], share: float
) -> None:
    before = kinds(stage)
    approval = stage.approval("promote", passed[1], "dora", "greta")
    found = refusal(lambda: stage.promotion.promote(stage.model, passed[1], [approval], share))
    assert found == "bad_share"
    assert kinds(stage) == before


def test_the_first_model_of_a_name_has_no_canary(stage: Stage) -> None:
    from governance.service.repository import digest_of  # noqa: PLC0415

    first = digest_of(stage.models / stage.model / "1")
    stage.submit(1, first)
    approval = stage.approval("promote", first, "dora", "greta")
    found = refusal(lambda: stage.promotion.promote(stage.model, first, [approval], SHARE))
    assert found == "no_incumbent"
    assert stage.authority.state(stage.model).intent is None


def test_a_canarys_share_is_fixed(stage: Stage, passed: list[str]) -> None:
    begin(stage, passed[1])
    assert refusal(lambda: stage.shadowing.share(stage.model, 0.5)) == "is_canary"
