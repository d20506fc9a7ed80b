"""A fleet's sum in a ledger: its parts, their signatures and their seeds are looked at too."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from governance.audit.audit import audit
from governance.shadow.fleet import total
from governance.shadow.sampling import commitment
from governance.shadow_report import ShadowReport
from tests.governance.governed import Governed
from tests.governance.reports import counts, judged_report
from tests.governance.signing import DAY, GATEWAY, KEYS, MODEL, key

TWO = "gateway-2"
SEEDS = {GATEWAY: bytes(range(32)), TWO: bytes(range(1, 33))}


@dataclass
class Summed(Governed):
    """A folder in which two gateways compared; each field makes one thing wrong."""

    signs_for_two: str = TWO
    commits: tuple[str, ...] = (GATEWAY, TWO)
    lost: bool = False
    more: int = 0
    tells: str = TWO
    tells_of: int = 3000
    seed_of_two: bytes = SEEDS[TWO]

    def story(self) -> "Summed":
        first = self.exported(1)
        self.promoted(first, None, "dora", "greta")
        second = self.exported(2)
        about = {"model": MODEL, "candidate": second, "incumbent": self.incumbent}
        for name in self.commits:
            self.log("seed", model=MODEL, commitment=commitment(SEEDS[name]))
        _, told = self.approved("shadow", second, "olga")
        started = self.clock
        self.log("shadow", **about, policy=self.policy.digest, attempt=1, approvals=told)
        self.clock += DAY // 4
        parts: dict[str, ShadowReport] = {}
        for name, signer in ((GATEWAY, GATEWAY), (TWO, self.signs_for_two)):
            said = judged_report(
                self.policy,
                second,
                str(self.incumbent),
                found=counts(3000, 1),
                started=started,
                ended=self.clock - 60,
                gateway=name,
                seed=SEEDS[name],
            )
            if name == TWO:
                # It is told while the comparison goes on, when a seed is still drawn by.
                said = replace(said, seed=None)
            parts[self.keep(said, signer, about=second).digest] = said
        made = total(parts, GATEWAY)
        if self.more:
            bigger = {**parts, "more": replace(parts[made.sources[0]], gateway="another")}
            made = replace(total(bigger, GATEWAY), sources=made.sources)
        report = self.keep(made, GATEWAY, about=second)
        self.log("shadow_result", **about, attempt=1, report=report.digest, verdict=made.verdict)
        if self.tells:
            last = judged_report(
                self.policy,
                second,
                str(self.incumbent),
                found=counts(self.tells_of, 1),
                started=started,
                ended=self.clock,
                gateway=TWO,
                seed=self.seed_of_two,
            )
            ended = self.keep(last, self.tells, about=second).digest
            opens = commitment(SEEDS[TWO])
            self.log("seed_revealed", model=MODEL, commitment=opens, report=ended)
        if self.lost:
            self.home.discard(made.sources[0])
        self.promoted(second, report.digest, "dora", "greta")
        self.close()
        return self


def made(tmp_path: Path, **wrong: object) -> Summed:
    keys = [*KEYS, key(TWO, "gateway")]
    return Summed(tmp_path / "g", keys=keys, **wrong).story()  # type: ignore[arg-type]


def test_a_sum_that_holds_is_told_with_its_gateways(tmp_path: Path) -> None:
    folder = made(tmp_path)
    found = audit(
        folder.home.root, folder.pin, witnesses=[str(folder.witness)], models=folder.models
    )
    assert found.agrees, found.checks.findings
    (line,) = [c.sentence for c in found.checks.lines if "(shadow_result" in c.what]
    assert "PASS recomputed: 2 of 6000 decisions differ, at 2 gateways" in line
    assert "of 600 outcomes the candidate alone was wrong in 2" in line


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"signs_for_two": GATEWAY}, "wrong_gateway"),
        ({"signs_for_two": "olga"}, "not_a_gateway"),
        ({"commits": (GATEWAY,)}, "seed_not_committed"),
        ({"lost": True}, "no_statement"),
        ({"more": 1}, "other_sum"),
    ],
)
def test_a_part_that_does_not_hold_is_found(
    tmp_path: Path, wrong: dict[str, object], reason: str
) -> None:
    folder = made(tmp_path, **wrong)
    findings = audit(folder.home.root, folder.pin).checks.findings
    assert reason in {check.reason for check in findings if "(shadow_result" in check.what}


def test_a_followers_seed_is_told_and_opens_what_it_committed_to(tmp_path: Path) -> None:
    folder = made(tmp_path)
    lines = audit(folder.home.root, folder.pin).checks.lines
    (line,) = [c.sentence for c in lines if "(seed_revealed" in c.what]
    assert line == f"{MODEL}: {TWO} told the seed that it drew 3000 pairs by"
    assert not [c for c in lines if c.what == f"seed of {TWO}"]


def test_a_seed_that_was_not_told_is_told_as_not_checked(tmp_path: Path) -> None:
    folder = made(tmp_path, tells="")
    found = audit(folder.home.root, folder.pin)
    assert found.agrees
    (line,) = [c.sentence for c in found.checks.lines if c.what == f"seed of {TWO}"]
    assert "nobody can draw its pairs again" in line


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"tells": GATEWAY}, "wrong_gateway"),
        ({"tells": "olga"}, "not_a_gateway"),
        ({"tells_of": 2999}, "report_went_back"),
        ({"seed_of_two": bytes(32)}, "seed_not_told"),
    ],
)
def test_a_seed_by_another_or_of_other_counts_is_found(
    tmp_path: Path, wrong: dict[str, object], reason: str
) -> None:
    folder = made(tmp_path, **wrong)
    findings = audit(folder.home.root, folder.pin).checks.findings
    assert reason in {check.reason for check in findings if "(seed_revealed" in check.what}
