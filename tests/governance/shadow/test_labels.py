"""Outcomes that come later: what gates make of them, what an auditor recomputes from a report."""

import math
import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from governance.shadow import evalue
from governance.shadow.ends import Counts
from governance.shadow.errors import ShadowError
from governance.shadow.gates import parse_policy
from governance.shadow.labels import Labels, labelled
from governance.shadow.report import Comparison, combine
from governance.shadow.statement import verify
from governance.shadow.verdict import judge, outlook
from governance.shadow_report import Labels as Told
from tests.governance.shadow.pairs import LATER, POLICY, START, comparison, complete, fed, slugs
from tests.governance.shadow.test_statement import said

MCNEMAR: dict[str, Any] = {
    "mcnemar": "not_worse",
    "labelled_min": 100,
    "disagreement_limit": "0.1",
    "n_min": 100,
}


def run(b: int, c: int, both: int = 0, pairs: int = 3000, **policy: Any) -> Comparison:
    """A comparison in which b and c of the labelled pairs went against one model alone."""
    made = fed([complete() for _ in range(pairs - b - c)], **policy)
    for _ in range(b + c):
        made.add(complete(same=False))
    for truth, times in ((True, c), (False, b)):
        for _ in range(times):
            made.label(labelled(False, True, truth))
    for _ in range(both):
        made.label(labelled(True, True, True))
    return made


@pytest.mark.parametrize(
    ("decided", "truth", "counts"),
    [
        ((True, True), True, (1, 0, 0)),
        ((True, True), False, (1, 0, 0)),
        ((True, False), True, (1, 1, 0)),
        ((True, False), False, (1, 0, 1)),
        ((False, True), False, (1, 1, 0)),
        ((False, True), True, (1, 0, 1)),
    ],
)
def test_a_label_says_which_of_two_was_wrong(
    decided: tuple[bool, bool], truth: bool, counts: tuple[int, int, int]
) -> None:
    assert labelled(*decided, truth) == Labels(*counts)


def test_a_report_carries_what_an_auditor_needs_to_recompute_the_e_value_by_hand() -> None:
    made = said(run(3, 12, both=200, disagreement_limit="0.1"))
    assert made.labels is not None
    b, c = made.labels.only_candidate_wrong, made.labels.only_incumbent_wrong
    assert (made.labels.labelled, b, c) == (215, 3, 12)
    # B(b+1, c+1) 2^(b+c) with whole numbers alone.
    factorial = math.factorial
    by_hand = Fraction(factorial(b) * factorial(c), factorial(b + c + 1)) * 2 ** (b + c)
    assert abs(float(made.labels.log10_e) - math.log10(by_hand)) <= 1e-4
    assert verify(made).outcome == made.verdict == "PASS"


@pytest.mark.parametrize(
    "forged",
    [Told(215, 3, 12, "9.0000"), Told(215, 2, 12, "1.6021"), Told(14, 3, 12, "0.6448"), None],
)
def test_labels_that_were_changed_after_the_verdict_are_refused(forged: Told | None) -> None:
    policy: dict[str, Any] = {"label_limit": "0.05", "mcnemar": "not_worse", "labelled_min": 100}
    made = said(run(3, 12, both=200, disagreement_limit="0.1", **policy))
    with pytest.raises(ShadowError) as refused:
        verify(replace(made, labels=forged))
    assert refused.value.reason in ("verdict_differs", "bad_report")


def test_a_report_from_before_labels_counted_verifies_as_ever() -> None:
    assert verify(replace(said(run(0, 0)), labels=None)).outcome == "PASS"


def test_without_a_gate_labels_inform_and_decide_nothing() -> None:
    bad = run(40, 0, disagreement_limit="0.1")
    assert bad.judge(LATER).outcome == "PASS"
    assert float(bad.log10_e_mcnemar) > 9


def test_a_gate_on_labels_waits_for_them() -> None:
    few = run(0, 0, both=99, **MCNEMAR)
    assert few.judge(LATER).outcome == "INCONCLUSIVE"
    assert slugs(few) == {"too_few_labels"}
    few.label(labelled(True, True, True))
    assert few.judge(LATER).outcome == "PASS"


def test_a_candidate_that_is_wrong_more_often_fails_at_once() -> None:
    made = run(0, 0, both=500, **MCNEMAR)
    for _ in range(40):
        made.add(complete(same=False))
    with pytest.raises(ShadowError) as over:
        for _ in range(40):
            made.label(labelled(False, True, False))
    assert over.value.reason == "comparison_over"
    assert slugs(made) == {"mcnemar_worse"}
    (reason,) = made.judge(LATER).reasons
    assert "was the candidate 14 of 14 times" in reason.sentence


def test_better_has_to_be_shown() -> None:
    policy = MCNEMAR | {"mcnemar": "better"}
    assert slugs(run(5, 5, both=500, **policy)) == {"mcnemar_not_shown"}
    assert run(2, 30, both=500, **policy).judge(LATER).outcome == "PASS"
    assert run(30, 30, both=2, **policy).judge(LATER).outcome == "INCONCLUSIVE"


def test_a_limit_on_what_the_candidate_alone_gets_wrong_is_a_gate_like_the_others() -> None:
    policy: dict[str, Any] = {"label_limit": "0.01", "disagreement_limit": "0.1"}
    assert slugs(run(0, 30, both=200, **policy)) == {"labels_not_shown"}
    assert run(0, 30, both=900, **policy).judge(LATER).outcome == "PASS"
    counts = Counts(complete=3000, disagreed=60, labelled=1000, only_candidate_wrong=60)
    judged = judge(counts, parse_policy(POLICY | policy), 1, START, LATER)
    assert [r.slug for r in judged.reasons] == ["labels_above_limit"]


def test_a_later_word_takes_the_earlier_one_back() -> None:
    made = run(1, 0, disagreement_limit="0.1")
    made.label(labelled(False, True, True) - labelled(False, True, False))
    counts = made.counts()
    assert (counts.labelled, counts.only_candidate_wrong, counts.only_incumbent_wrong) == (1, 0, 1)


def test_the_outlook_tells_pairs_at_the_rate_at_which_outcomes_come() -> None:
    policy = parse_policy(POLICY | MCNEMAR | {"mcnemar": "better", "label_limit": "0.01"})
    counts = Counts(
        complete=1000,
        disagreed=20,
        labelled=100,
        only_candidate_wrong=0,
        only_incumbent_wrong=4,
    )
    told = {gate["gate"]: gate["pairs_needed"] for gate in outlook(counts, policy, 1)}
    unequal = evalue.mcnemar_needed(0, 4, policy.alpha_of(1))
    assert unequal is not None and told["mcnemar"] == 250 * unequal
    plain = evalue.pairs_needed(100, 0, Fraction("0.01"), policy.alpha_of(1))
    assert plain is not None and told["labels"] == 10 * plain
    none = outlook(Counts(complete=1000), policy, 1)
    assert {g["gate"]: g["pairs_needed"] for g in none}["mcnemar"] is None


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"mcnemar": "not_worse"}, "contradiction"),
        ({"mcnemar": "worse"}, "bad_value"),
        ({"mcnemar": True}, "bad_value"),
        ({"label_limit": 0.01}, "bad_value"),
        ({"label_limit": "0.9"}, "out_of_range"),
        ({"labelled_min": -1}, "out_of_range"),
    ],
)
def test_a_policy_that_asks_for_nonsense_is_refused(policy: dict[str, Any], reason: str) -> None:
    with pytest.raises(ShadowError) as refused:
        parse_policy(policy)
    assert refused.value.reason == reason


def test_counts_of_labels_that_cannot_be_are_refused() -> None:
    report = run(3, 12, both=5, disagreement_limit="0.1").report(LATER)
    for changes in ({"labelled": 14}, {"only_candidate_wrong": 9}, {"labelled": 3001}):
        with pytest.raises(ShadowError):
            combine([{**report, "counts": {**report["counts"], **changes}}], "sum")


def test_a_candidate_as_often_wrong_seldom_fails_however_often_one_looks() -> None:
    """One-sided: 1,000 runs of 400 unequal pairs, a look after each, alpha 5%."""
    chance, alpha = random.Random(7), Fraction(5, 100)  # noqa: S311
    failed = 0
    for _ in range(1000):
        b = c = 0
        for _ in range(400):
            b, c = (b + 1, c) if chance.random() < 0.5 else (b, c + 1)
            if evalue.reaches(evalue.log_e_fewer_wrong(c, b), alpha):
                failed += 1
                break
    assert failed <= 50


def test_a_gate_on_labels_is_judged_at_every_look_at_its_share_of_alpha() -> None:
    made = comparison(**MCNEMAR)
    gates = [gate.name for gate in made.policy.gates]
    assert gates == ["disagreement", "errors", "latency", "mcnemar"]
