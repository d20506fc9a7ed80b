"""The signed report carries all that a verdict depends on, and nothing else is believed."""

from dataclasses import replace

import pytest

from governance.shadow.errors import ShadowError
from governance.shadow.report import Comparison
from governance.shadow.statement import Frame, predicate, verify
from governance.shadow_report import Ends, Flips, Scores, ShadowReport, Windows
from governance.statements import Statement, parse
from tests.governance.ledgers import digest
from tests.governance.shadow.pairs import LATER, broken, complete, fed

FRAME = Frame("bidders-eu", digest("policy"), bytes(range(32)), digest("samples"))


def run() -> Comparison:
    segments = {"de": {"limit": "0.02", "n_min": 10}}
    ends = [complete(segment="de", caller=f"c{n % 3}") for n in range(2500)]
    ends += [broken("shed"), broken("incumbent_error"), broken("candidate_error")]
    return fed(ends, segments=segments)


def said(comparison: Comparison) -> ShadowReport:
    made = predicate(comparison.report(LATER), comparison.judge(LATER), FRAME)
    statement = Statement("fraud", made.candidate, made)
    return parse(statement.payload, ShadowReport).predicate


@pytest.mark.parametrize("disagree", [0, 3, 300])
def test_an_auditor_recomputes_the_verdict_from_the_signed_bytes_alone(disagree: int) -> None:
    ends = [complete(segment="de", caller=f"c{n % 3}") for n in range(2500)]
    comparison = fed(ends, segments={"de": {"limit": "0.02", "n_min": 10}})
    for _ in range(disagree):
        if comparison.judge(LATER).outcome == "FAIL":
            break
        comparison.add(complete(same=False))
    judged = comparison.judge(LATER)
    assert verify(said(comparison)) == judged
    assert said(comparison).verdict == judged.outcome


def test_every_number_of_a_report_is_bound_to_its_verdict() -> None:
    made = said(run())
    assert verify(made).outcome == "PASS"
    for changed in (
        replace(made, n=made.n + 1),
        replace(made, attempt=2),
        replace(made, ends=replace(made.ends, shed=900)),
        replace(made, ends=Ends(made.ends.complete, 0, 0, 1, 1)),
        replace(made, flips=Flips(9, 9)),
        replace(made, scores=Scores(0, 1)),
        replace(made, windows=Windows(made.windows.count + 9, made.windows.ok, 100, 0)),
        replace(made, windows=replace(made.windows, pairs=1000)),
        replace(made, callers=replace(made.callers, busiest=made.n + 3)),
        replace(made, gates=made.gates[1:]),
        replace(made, gates=(replace(made.gates[0], log10_e="99.0000"), *made.gates[1:])),
        replace(made, gates=(replace(made.gates[0], limit="0.5"), *made.gates[1:])),
        replace(made, shadow_policy={**made.shadow_policy, "n_min": 90_000}),
        replace(made, reasons=("all_shown: trust us",)),
        replace(made, segments=()),
    ):
        with pytest.raises(ShadowError) as refused:
            verify(changed)
        assert refused.value.reason in ("verdict_differs", "bad_report")


def test_a_report_with_another_seed_than_was_committed_to_is_refused() -> None:
    with pytest.raises(ShadowError) as refused:
        verify(replace(said(run()), seed="00" * 32))
    assert refused.value.reason == "other_seed"
