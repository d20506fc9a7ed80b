"""A fleet's sum: each gateway once, never more than was counted, recomputed from its parts."""

from dataclasses import replace
from typing import Any

import pytest

from governance.shadow.errors import ShadowError
from governance.shadow.fleet import check, distinct, goes_on, total
from governance.shadow.report import Comparison
from governance.shadow.sampling import commitment
from governance.shadow.statement import Frame, signable, verify
from governance.shadow_report import ShadowReport
from tests.governance.ledgers import digest
from tests.governance.shadow.pairs import LATER, POLICY, START, broken, complete

WHO = ("gateway-1", "gateway-2", "gateway-3")


def report(
    gateway: str = WHO[0],
    pairs: int = 600,
    differ: int = 0,
    shed: int = 0,
    ended: int = LATER,
    started: int = START,
    attempt: int = 1,
    policy: dict[str, Any] = POLICY,
) -> ShadowReport:
    run = Comparison(policy, digest("candidate"), digest("incumbent"), gateway, attempt, started)
    for place in range(pairs):
        run.add(complete(same=place >= differ))
    for _ in range(shed):
        run.add(broken("shed"))
    told = commitment(gateway.encode() * 8)
    frame = Frame("bidders-eu", digest("policy"), None, digest(gateway), told)
    return signable(run.report(ended), frame)


def named(*reports: ShadowReport) -> dict[str, ShadowReport]:
    return {digest(f"{place} {said.gateway}"): said for place, said in enumerate(reports)}


def test_three_gateways_show_together_what_none_shows_alone() -> None:
    each = named(*(report(who) for who in WHO))
    assert {said.verdict for said in each.values()} == {"INCONCLUSIVE"}
    said = total(each, WHO[0])
    assert (said.verdict, said.n, said.d) == ("PASS", 1800, 0)
    assert said.sources == tuple(sorted(each)) and said.seed is None
    assert verify(said).outcome == "PASS"
    check(said, [each[source] for source in said.sources])


def test_the_same_report_twice_counts_once() -> None:
    one = report(WHO[0])
    # As two statements: the same predicate under another subject, say.
    said = total({digest("a"): one, digest("b"): one, digest("c"): report(WHO[1])}, WHO[0])
    assert (said.n, len(said.sources), said.verdict) == (1200, 2, "INCONCLUSIVE")


def test_of_two_reports_of_one_gateway_the_later_counts() -> None:
    early, late = report(pairs=300, ended=LATER - 60), report(pairs=600)
    for order in ((early, late), (late, early)):
        assert total(named(*order, report(WHO[1])), WHO[0]).n == 1200


def test_a_gateway_that_reports_one_window_twice_cannot_choose_the_better() -> None:
    good, bad = report(differ=0), report(differ=2)
    for order in ((good, bad), (bad, good)):
        assert total(named(*order), WHO[0]).d == 2
    assert [said.n for said in distinct(named(report(pairs=10), report(pairs=9))).values()] == [10]


def test_the_sum_is_judged_over_the_time_that_all_of_them_saw() -> None:
    late = report(WHO[1], started=START + 7200, ended=LATER - 60)
    said = total(named(report(WHO[0]), late), WHO[0])
    assert (said.started, said.ended) == (START + 7200, LATER - 60)
    assert "too_early: " in "".join(said.reasons)


def test_a_gateway_that_fell_silent_holds_no_time_back_if_the_policy_says_so() -> None:
    aging = POLICY | {"silent_minutes": 30}
    early = LATER - 1801
    each = [
        report(WHO[0], policy=aging),
        report(WHO[1], policy=aging),
        report(WHO[2], differ=1, started=START + 3600, ended=early, policy=aging),
    ]
    said = total(named(*each), WHO[0])
    assert (said.started, said.ended) == (START, LATER)
    # What it counted stays: nobody gains by silencing it.
    assert (said.n, said.d) == (1800, 1)
    check(said, [named(*each)[source] for source in said.sources])
    with pytest.raises(ShadowError):
        check(replace(said, ended=LATER + 3600), [named(*each)[s] for s in said.sources])
    still = report(WHO[2], started=START + 3600, ended=early + 1, policy=aging)
    said = total(named(*each[:2], still), WHO[0])
    assert (said.started, said.ended) == (START + 3600, early + 1)


def test_shedding_at_one_gateway_counts_for_all() -> None:
    said = total(named(report(WHO[0]), report(WHO[1], shed=30)), WHO[0])
    assert said.ends.shed == 30 and "shed_above_limit" in "".join(said.reasons)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (replace(report(WHO[1]), candidate=digest("x")), "other_run"),
        (replace(report(WHO[1]), incumbent=digest("x")), "other_run"),
        (replace(report(WHO[1]), policy=digest("x")), "other_run"),
        (replace(report(WHO[1]), audience="others"), "other_run"),
        (report(WHO[1], attempt=2), "other_run"),
        (replace(report(WHO[1]), n=900), "verdict_differs"),
        (replace(report(WHO[1]), sources=(digest("x"),)), "sum_of_sums"),
    ],
)
def test_what_is_not_of_one_comparison_is_not_added_up(other: ShadowReport, reason: str) -> None:
    with pytest.raises(ShadowError) as refused:
        total(named(report(WHO[0]), other), WHO[0])
    assert refused.value.reason == reason


def test_nothing_adds_up_to_nothing() -> None:
    with pytest.raises(ShadowError) as refused:
        total({}, WHO[0])
    assert refused.value.reason == "no_reports"


def test_an_auditor_finds_a_sum_of_something_else() -> None:
    each = named(*(report(who) for who in WHO))
    said = total(each, WHO[0])
    parts = [each[source] for source in said.sources]
    with pytest.raises(ShadowError) as refused:
        check(said, [report(parts[0].gateway, pairs=601), *parts[1:]])
    assert refused.value.reason == "other_sum"
    with pytest.raises(ShadowError) as refused:
        check(said, [parts[1], *parts[1:]])
    assert refused.value.reason == "gateway_twice"


def test_a_report_that_takes_something_back_does_not_go_on() -> None:
    before = report(pairs=300, differ=1, ended=LATER - 60)
    assert goes_on(before, report(pairs=600, differ=1))
    assert not goes_on(before, report(pairs=600, differ=0))
    assert not goes_on(before, report(pairs=299, differ=1))
    assert not goes_on(before, replace(report(differ=1), seed_commitment=digest("another")))
    assert not goes_on(before, report(differ=1, started=START + 1))
