"""What the demo's governance story showed: the input of its table and of the report's section."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from bench.story_load import Answers, Window
from governance.dsse import Envelope
from governance.shadow.gates import parse_policy
from governance.shadow_report import ShadowReport
from governance.statements import parse

# Latency before and after a promotion is that of so many seconds; during it of one at least.
SIDE_S: Final = 4.0
DURING_S: Final = 1.0


@dataclass(frozen=True)
class Comparison:
    """How a comparison ended, from its signed report in `file`, whose payload's digest is `report`.

    `d` of `n` decisions differed, of which `limit` is allowed; `reasons` are sentences.
    """

    of: str
    file: Path
    report: str
    verdict: str
    n: int
    d: int
    limit: Fraction
    reasons: tuple[str, ...]
    seconds: float


def compared(of: str, file: Path, seconds: float) -> Comparison:
    """Read a comparison's signed report; `seconds` is how long it took."""
    envelope = Envelope.from_json(file.read_bytes())
    said = parse(envelope.payload, ShadowReport).predicate
    return Comparison(
        of,
        file,
        envelope.digest,
        said.verdict,
        said.n,
        said.d,
        parse_policy(said.shadow_policy).disagreement_limit,
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


def phases(answers: Answers, asked_s: float, done_s: float) -> tuple[Phase, ...]:
    """Latency before, during and after a promotion that ran from `asked_s` to `done_s`."""
    over = max(done_s, asked_s + DURING_S)
    return tuple(
        Phase(name, answers.quantile(a, b, 0.5), answers.quantile(a, b, 0.99))
        for name, a, b in (
            ("before", asked_s - SIDE_S, asked_s),
            ("during", asked_s, over),
            ("after", over, over + SIDE_S),
        )
    )
