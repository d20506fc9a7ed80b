"""The demo's governance story: what its parts compute, and that nothing of it can pass unseen."""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.report import render
from bench.story_candidates import moved
from bench.story_desk import Desk, StoryError, shown
from bench.story_load import Answers, Window, failed, windows
from bench.story_outcome import Comparison, Phase, Story, compared, phases
from bench.story_people import SHADOW, edited
from bench.story_report import print_story
from governance.policy_file import parse_file, starting_point
from governance.shadow.gates import parse_policy
from governance.statements import Statement
from tests.governance.reports import judged_report, judging_policy
from tests.governance.signing import CANDIDATE, INCUMBENT, KEYS, MODEL, NOW, signer

DIGEST = "sha256:" + "0123456789abcdef" * 4
EVEN = Answers(np.arange(0, 20, 0.001), np.tile(np.arange(1.0, 1001.0), 20))


def test_a_moved_threshold_turns_the_share_of_decisions_that_was_asked_for() -> None:
    scores = np.random.default_rng(1).uniform(size=1000).astype(np.float32)
    turned = np.sum((scores >= moved(scores, 0.4, 0.02)) != (scores >= 0.4))
    assert turned == 20


def test_a_moved_threshold_comes_as_close_as_tied_scores_let_it() -> None:
    scores = np.repeat(np.array([0.1, 0.4, 0.6, 0.9], np.float32), [90, 3, 4, 3])
    assert np.sum((scores >= moved(scores, 0.5, 0.02)) != (scores >= 0.5)) == 3


def test_every_stretch_has_its_own_quantiles_and_too_few_answers_have_none() -> None:
    found = windows(EVEN)
    assert [w.t_s for w in found] == [float(second) for second in range(20)]
    assert all(w.p50_us == pytest.approx(500.5) for w in found)
    assert all(w.p99_us == pytest.approx(990, abs=1) for w in found)
    few = Answers(np.arange(0, 1, 0.01), np.ones(100))
    assert windows(few) == (Window(0.0, 1.0, None),)
    nothing = np.zeros(0)
    assert windows(Answers(nothing, nothing)) == ()


def test_a_slow_answer_during_a_promotion_counts_there_and_nowhere_else() -> None:
    took = np.where((EVEN.due_s >= 10) & (EVEN.due_s < 10.2), 5000.0, 100.0)
    before, during, after = phases(Answers(EVEN.due_s, took), 10.0, 10.2)
    assert (before.p99_us, during.p99_us, after.p99_us) == (100.0, 5000.0, 100.0)


def test_a_call_that_was_not_answered_well_is_found_whatever_became_of_it() -> None:
    fine = {"status": {"OK": 100}, "failures": {}, "unanswered": 0, "never_sent": 0}
    assert not failed([fine, fine])
    for name, change in (
        ("UNAVAILABLE", {"status": {"OK": 99, "UNAVAILABLE": 1}}),
        ("connection closed", {"failures": {"connection closed": 1}}),
        ("unanswered", {"unanswered": 1}),
        ("never sent", {"never_sent": 1}),
    ):
        assert failed([fine, fine | change]) == {name: 1}


def test_a_comparison_is_told_from_its_signed_report(tmp_path: Path) -> None:
    report = judged_report(judging_policy(), CANDIDATE, INCUMBENT)
    envelope = Statement(MODEL, CANDIDATE, report).envelope(signer("gateway-1"))
    file = tmp_path / "report.json"
    file.write_bytes(envelope.to_json())
    found = compared("version 2", file, 7.0)
    assert (found.verdict, found.n, found.d) == (report.verdict, report.n, report.d)
    assert found.report == envelope.digest
    assert all(":" not in reason.split()[0] for reason in found.reasons)


def test_the_demo_policy_is_the_starting_point_with_two_roots_and_its_own_limits() -> None:
    known = [(key["person"], tuple(key["roles"]), key["public"]) for key in KEYS]
    made = parse_file(edited(starting_point("demo-fleet", NOW, known)), None)
    limits = parse_policy(made.risk_class("site-risk").shadow)
    assert (made.root_persons, limits.block_ms, limits.min_hours) == (2, 5, 0)
    assert limits.disagreement_limit == Fraction(1, 200)
    assert "DEMO POLICY" in SHADOW
    assert made.admin_roles("spiffe://demo.example/people/olga") == {"operator"}
    assert made.admin_roles("spiffe://demo.example/people/mallory") == frozenset()


def test_a_policy_file_of_another_form_is_not_edited_by_halves() -> None:
    with pytest.raises(StoryError, match="root_persons"):
        edited("[risk_classes.standard.shadow]\n")


def test_a_command_is_shown_with_short_paths_and_digests(tmp_path: Path) -> None:
    words = ("promote", "site-risk", DIGEST, "--approval", tmp_path / "a.json")
    assert shown(words, tmp_path) == "promote site-risk sha256:01234567… --approval a.json"


def test_a_command_that_ends_otherwise_than_told_ends_the_story(tmp_path: Path) -> None:
    desk = Desk(tmp_path, Console(quiet=True), "127.0.0.1:1")
    made = desk.run("olga", "keys", "new", "--out", tmp_path / "olga.pem")
    assert made["key_id"].startswith("sha256:")
    with pytest.raises(StoryError, match="keys show"):
        desk.run("olga", "keys", "show", tmp_path / "nobody.pem")
    with pytest.raises(StoryError, match="ended with 0"):
        desk.run("olga", "keys", "show", tmp_path / "olga.pem", refused=True)


def story() -> Story:
    """A story that came out as told, with names that would be markup."""
    limit = Fraction(1, 200)
    report = Path("report.json")
    return Story(
        comparisons=(
            Comparison("version 2", report, DIGEST, "PASS", 1285, 0, limit, ("all hold",), 7.1),
            Comparison("version 3", report, DIGEST, "FAIL", 493, 12, limit, ("<b>2.43%",), 3.2),
        ),
        phases=(Phase("before", 790.0, 3460.0), Phase("during", 908.0, None)),
        windows=windows(EVEN),
        marks=(("version 2: PASS", 8.0), ("promoted", 8.5), ("rolled back", 14.0)),
        answered=18_804,
        refused=(("a forged approval", "no_valid_signature"),),
        promotion_ms=161.0,
        rollback_ms=81.2,
        audit="20 ledger entries",
        seconds=24.0,
    )


def test_the_report_and_the_table_tell_verdicts_counts_and_times() -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    print_story(story(), console)
    page, table = render([], story=story()), console.export_text()
    for told in ("12 of 493", "0 of 1,285", "161 ms", "81.2 ms", "18,804", "no_valid_signature"):
        assert told in table
        assert told in page
    for mark in ("promoted", "rolled back"):
        assert mark in page
    assert "<b>2.43%" not in page
    assert "&lt;b&gt;2.43%" in page


def test_a_report_without_a_story_has_no_section_of_it() -> None:
    assert 'id="governance"' not in render([])
    assert 'id="governance"' in render([], story=story())
