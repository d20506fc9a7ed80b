"""The report as it is signed, and back: nothing that a verdict depends on is lost on the way.

`report` has the computing form (counts by the names that gates use), `shadow_report` the form of
the statement's predicate. The way between them is one to one, so that an auditor recomputes from
the signed predicate alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any

from governance.shadow.errors import ShadowError
from governance.shadow.evalue import e_text, log_e_mcnemar
from governance.shadow.gates import Gate as Asked
from governance.shadow.gates import ShadowPolicy, parse_policy
from governance.shadow.report import FORMAT, recompute
from governance.shadow.sampling import commitment
from governance.shadow.shift import Shift, ks, psi
from governance.shadow.verdict import Verdict
from governance.shadow_report import (
    Callers,
    Ends,
    Flips,
    Gate,
    Labels,
    Scores,
    Segment,
    ShadowReport,
    Windows,
)
from governance.shadow_report import (
    Shift as Told,
)


@dataclass(frozen=True)
class Frame:
    """What a signed report says beside what was counted.

    `policy` is the digest of the signed policy, `sample_root` the Merkle root of the samples. A
    report that keeps its seed to itself has the `commitment` alone; a sum names its `sources`.
    """

    audience: str
    policy: str
    seed: bytes | None
    sample_root: str
    commitment: str = ""
    sources: tuple[str, ...] = ()
    shift: Shift | None = None


def signable(report: Mapping[str, Any], frame: Frame) -> ShadowReport:
    """Write a report as what the gateway signs, judged by its own integers. Raises ShadowError."""
    return predicate(report, recompute(report), frame)


def predicate(report: Mapping[str, Any], judged: Verdict, frame: Frame) -> ShadowReport:
    """Write a comparison's report as what the gateway signs.

    Raises:
        ShadowError: the seed is too short.
        GovernanceError: a count contradicts another.

    """
    policy, counts = parse_policy(report["policy"]), report["counts"]
    return ShadowReport(
        candidate=report["candidate"],
        incumbent=report["incumbent"],
        audience=frame.audience,
        gateway=report["gateway"],
        policy=frame.policy,
        shadow_policy=dict(report["policy"]),
        attempt=report["attempt"],
        seed_commitment=frame.commitment if frame.seed is None else commitment(frame.seed),
        seed=None if frame.seed is None else frame.seed.hex(),
        started=report["started"],
        ended=report["ended"],
        n=counts["complete"] + counts["candidate_error"] + counts["candidate_timeout"],
        d=counts["disagreed"] + counts["candidate_error"] + counts["candidate_timeout"],
        gates=_gates(judged, policy),
        ends=Ends(
            counts["complete"],
            counts["candidate_error"],
            counts["candidate_timeout"],
            counts["shed"],
            counts["incumbent_error"],
        ),
        flips=Flips(counts["flips_down"], counts["flips_up"]),
        windows=Windows(
            counts["windows"], counts["good_windows"], policy.window_pairs, counts["unpaired"]
        ),
        scores=Scores(counts["moved"], counts["non_finite"]),
        callers=Callers(counts["callers"], counts["top_caller"]),
        segments=tuple(
            Segment(name, told["n"], told["d"]) for name, told in sorted(counts["segments"].items())
        ),
        sample_root=frame.sample_root,
        sources=frame.sources,
        verdict=judged.outcome,
        reasons=tuple(f"{r['reason']}: {r['sentence']}" for r in report["reasons"]),
        labels=_labels(
            counts["labelled"], counts["only_candidate_wrong"], counts["only_incumbent_wrong"]
        ),
        shift=_shift(frame.shift),
    )


def verify(said: ShadowReport) -> Verdict:
    """Judge a signed report again from its integers, as an auditor does.

    Raises:
        ShadowError: what it tells is not what its integers give (`verdict_differs`), its policy is
            none, or the seed is not the one that it was committed to (`other_seed`).

    """
    judged = recompute(computing(said))
    if said.seed is not None and commitment(bytes.fromhex(said.seed)) != said.seed_commitment:
        raise ShadowError("other_seed", "the seed is not the one that was committed to")
    policy = parse_policy(said.shadow_policy)
    if said.gates != _gates(judged, policy) or said.windows.pairs != policy.window_pairs:
        raise ShadowError("verdict_differs", "the report's gates are not those of its policy")
    told = said.labels
    if told is not None and told != _labels(
        told.labelled, told.only_candidate_wrong, told.only_incumbent_wrong
    ):
        raise ShadowError("verdict_differs", "the e-value is not the one of the labels' counts")
    lie = said.shift
    if lie is not None:
        counts = (lie.incumbent, lie.candidate)
        if (lie.psi, lie.ks) != _indices(*counts) or sum(lie.incumbent) > said.ends.complete:
            raise ShadowError("verdict_differs", "PSI and KS are not those of the scores' bins")
    return judged


def counted(said: ShadowReport) -> dict[str, Any]:
    """The counts of a signed report by the names that gates use."""
    failed = said.ends.candidate_error + said.ends.candidate_timeout
    labels = said.labels or _labels(0, 0, 0)
    return {
        "complete": said.ends.complete,
        "candidate_error": said.ends.candidate_error,
        "candidate_timeout": said.ends.candidate_timeout,
        "shed": said.ends.shed,
        "incumbent_error": said.ends.incumbent_error,
        "disagreed": said.d - failed,
        "flips_up": said.flips.up,
        "flips_down": said.flips.down,
        "moved": said.scores.moved,
        "non_finite": said.scores.non_finite,
        "windows": said.windows.count,
        "good_windows": said.windows.ok,
        "unpaired": said.windows.unpaired,
        "callers": said.callers.count,
        "top_caller": said.callers.busiest,
        "labelled": labels.labelled,
        "only_candidate_wrong": labels.only_candidate_wrong,
        "only_incumbent_wrong": labels.only_incumbent_wrong,
        "segments": {s.name: {"n": s.n, "d": s.d} for s in said.segments},
    }


def computing(said: ShadowReport) -> dict[str, Any]:
    """Write a signed report in the form that is computed with. Raises ShadowError."""
    failed = said.ends.candidate_error + said.ends.candidate_timeout
    if said.n != said.ends.complete + failed or said.d < failed:
        raise ShadowError("verdict_differs", "n and d are not the sums of their parts")
    windows = {gate.name for gate in said.gates if gate.kind == "sign"}
    return {
        "format": FORMAT,
        "candidate": said.candidate,
        "incumbent": said.incumbent,
        "gateway": said.gateway,
        "attempt": said.attempt,
        "policy": said.shadow_policy,
        "started": said.started,
        "ended": said.ended,
        "counts": counted(said),
        "gates": [
            {
                "name": gate.name,
                "trials": gate.n,
                "events": gate.n - gate.d if gate.name in windows else gate.d,
                "log10_e_for": gate.log10_e,
                "log10_e_against": gate.log10_e_against,
            }
            for gate in said.gates
        ],
        "verdict": said.verdict,
        "reasons": [
            dict(zip(("reason", "sentence"), _parted(r), strict=True)) for r in said.reasons
        ],
    }


def _parted(reason: str) -> tuple[str, str]:
    slug, _, sentence = reason.partition(": ")
    return slug, sentence


def _gates(judged: Verdict, policy: ShadowPolicy) -> tuple[Gate, ...]:
    alpha = _decimal(judged.alpha)
    return tuple(
        Gate(
            name=status.gate.name,
            kind="sign" if status.gate.windows else "mcnemar" if status.gate.mcnemar else "rate",
            n=status.trials,
            # Of windows the good ones are counted; a report tells what speaks against.
            d=status.trials - status.events if status.gate.windows else status.events,
            limit=_limit(status.gate, policy),
            alpha=alpha,
            log10_e=status.evidence_for,
            log10_e_against=status.evidence_against,
            state="PASS" if status.shown else "FAIL" if status.refuted else "INCONCLUSIVE",
        )
        for status in judged.gates
    )


def _labels(labelled: int, b: int, c: int) -> Labels:
    return Labels(labelled, b, c, e_text(log_e_mcnemar(b, c)))


def _shift(found: Shift | None) -> Told | None:
    if found is None:
        return None
    # Without the plus that a large exponent would have.
    edges = tuple(format(edge, ".9g").replace("+", "") for edge in found.edges)
    return Told(
        edges, found.incumbent, found.candidate, *_indices(found.incumbent, found.candidate)
    )


def _indices(incumbent: Sequence[int], candidate: Sequence[int]) -> tuple[str, str]:
    return f"{psi(incumbent, candidate):.4f}", f"{ks(incumbent, candidate):.4f}"


def _limit(gate: Asked, policy: ShadowPolicy) -> str:
    return _decimal(policy.latency_ratio if gate.windows else gate.limit)


def _decimal(value: Fraction) -> str:
    """Write with eighteen decimals, rounded down, without zeros at the end."""
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    text = format(exact.quantize(Decimal(1).scaleb(-18), ROUND_FLOOR), "f")
    return text.rstrip("0").rstrip(".")
