"""One comparison as it goes on: its document on disk, its samples, its counts.

The document (`runs/MODEL.json`) says how far the samples count; together they are all that a
restart needs. The seed stands in it, readable by the service alone, until the report is signed.
"""

from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

from governance.home import Home, HomeError
from governance.service.labels import Joined
from governance.service.plane import Wishes
from governance.service.samples import (
    Pairing,
    SampleLog,
    end_of,
    merkle_root,
    of_canary,
    read_samples,
)
from governance.service.waiting import Waiting
from governance.shadow.errors import ShadowError
from governance.shadow.report import Comparison
from governance.shadow.sampling import commitment, draw_key
from governance.shadow.shift import shift
from governance.shadow.statement import Frame, predicate
from governance.shadow.verdict import Verdict
from governance.shadow_report import ShadowReport


@dataclass(frozen=True)
class Plan:
    """What a run is: fixed at its start, but for `part`, `share`, `counted`, `lost` and `report`.

    `part` counts the data plane's shadows that it has had; `counted` are the bytes of its samples;
    `lost` is how many ends the data plane lost in this part; `report` is the digest of the signed
    report that is not in the ledger yet. Of a canary `callers` is the share of the callers that the
    candidate answers, else 0. Of other gateways that compare along `joined` has the commitments,
    `reports` the digests of what they reported last. Times are seconds since 1970, digests
    `sha256:` and hex.
    """

    run: str
    model: str
    candidate: str
    incumbent: str
    version: int
    attempt: int
    policy: str
    shadow_policy: Mapping[str, Any]
    gateway: str
    seed: str
    started: int
    share: float
    part: int = 1
    counted: int = 0
    lost: int = 0
    report: str | None = None
    callers: float = 0.0
    joined: Mapping[str, str] = field(default_factory=dict)
    reports: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_canary(self) -> bool:
        """Whether the candidate answers some of the callers already."""
        return self.callers > 0

    @property
    def name(self) -> str:
        """The data plane's name for it."""
        return f"{self.run}.{self.part}"


class Run:
    """A comparison that goes on."""

    def __init__(self, home: Home, plan: Plan) -> None:
        """Count what the samples hold already."""
        self._home, self.plan = home, plan
        self._comparison = Comparison(
            plan.shadow_policy,
            plan.candidate,
            plan.incumbent,
            plan.gateway,
            plan.attempt,
            plan.started,
        )
        seed = bytes.fromhex(plan.seed)
        self._pairing = Pairing(self._comparison.policy, seed, plan.part, plan.lost)
        self._log = SampleLog(
            home.root / "samples" / plan.model / f"{plan.run}.jsonl", plan.counted
        )
        self._unwritten: list[dict[str, Any]] = []
        self._waiting = Waiting(self._log.path.with_suffix(".waiting"))
        self._joined = Joined(seed, self._waiting)
        # Of the incumbent and of the candidate.
        self._scores = (array("d"), array("d"))
        for line in read_samples(self._log):
            if "label" not in line:
                self._pairing.counted(line)
                self._joined.know(line)
            self._add(line)
        self._unwritten += self._joined.late()

    @classmethod
    def load(cls, home: Home, model: str) -> "Run | None":
        """The run that is kept for a model.

        Raises:
            HomeError: `run_unreadable`.

        """
        told = home.run(model)
        if told is None:
            return None
        try:
            return cls(home, Plan(**told))
        except (TypeError, ValueError, ShadowError) as error:
            raise HomeError("run_unreadable", f"the run of {model}: {error}") from error

    @property
    def wishes(self) -> Wishes:
        """What the data plane is asked for."""
        policy = self._comparison.policy
        return Wishes(
            self.plan.name,
            self.plan.share,
            draw_key(bytes.fromhex(self.plan.seed)),
            policy.block_ms,
            float(policy.score_epsilon),
        )

    def keep(self, **changes: Any) -> None:
        """Change the plan, durably."""
        self.plan = replace(self.plan, **changes)
        self._home.set_run(self.plan.model, asdict(self.plan))

    def take(self, found: Mapping[str, Any], now: int) -> int:
        """Count what the data plane has found; how many pairs it was."""
        if self.plan.is_canary:
            found = of_canary(found)
        samples = self._pairing.take(found, now)
        samples += self._joined.lines(samples, found.get("outcomes", ()), now)
        counted = self._count(samples, int(found["lost"]))
        # Only now: a word that waits no longer has its line in the samples.
        self._waiting.save(now)
        return counted

    def next_part(self) -> None:
        """The data plane's shadow is gone: go on with another. Its open pairs were shed."""
        self._count(self._pairing.abandon(), self.plan.lost)
        self.keep(part=self.plan.part + 1, lost=0)
        self._pairing = Pairing(
            self._comparison.policy, bytes.fromhex(self.plan.seed), self.plan.part
        )

    def _count(self, samples: list[dict[str, Any]], lost: int) -> int:
        # The data plane tells a thing once: what could not be written waits, and is not lost.
        self._unwritten += samples
        if not self._unwritten:
            return 0
        self._log.add(self._unwritten)
        written, self._unwritten = self._unwritten, []
        self.keep(counted=self._log.size, lost=lost)
        for sample in written:
            self._add(sample)
        return len(written)

    def _add(self, line: Mapping[str, Any]) -> None:
        try:
            if "label" in line:
                self._comparison.label(self._joined.change(line))
                return
            self._comparison.add(end_of(line))
            scores = line.get("scores", (None, None))
            if None not in scores:
                for told, score in zip(self._scores, scores, strict=True):
                    told.append(float(score))
        except ShadowError as error:
            # It has failed: later luck covers nothing.
            if error.reason != "comparison_over":
                raise

    def judge(self, now: int) -> Verdict:
        """Judge as of now."""
        return self._comparison.judge(now)

    def signable(self, audience: str, now: int, *, ended: bool = True) -> ShadowReport:
        """The report as of now; while the run goes on it keeps its seed and its samples' root."""
        plan, seed = self.plan, bytes.fromhex(self.plan.seed)
        root = self._log.root() if ended else merkle_root(iter(()))
        frame = Frame(
            audience,
            plan.policy,
            seed if ended else None,
            root,
            commitment(seed),
            shift=shift(*self._scores) if ended else None,
        )
        return predicate(self._comparison.report(now), self.judge(now), frame)

    def told(self, now: int) -> dict[str, Any]:
        """How it fares, for people: nothing that tells the draw."""
        plan, judged = self.plan, self.judge(now)
        return {
            "model": plan.model,
            "candidate": plan.candidate,
            "incumbent": plan.incumbent,
            "attempt": plan.attempt,
            "started": plan.started,
            "share": plan.callers if plan.is_canary else plan.share,
            "canary": plan.is_canary,
            "verdict": judged.outcome,
            "reasons": [{"reason": r.slug, "sentence": r.sentence} for r in judged.reasons],
            "counts": self._comparison.counts().plain(),
            "gates": [dict(gate) for gate in self._comparison.outlook()],
            "over_cap": self._pairing.over_cap,
            "fleet": [],
            "log10_e_mcnemar": self._comparison.log10_e_mcnemar,
            "alpha": _percent(judged.alpha),
        }

    def close(self) -> None:
        """Give the samples' file back: the comparison is over, and waits for no outcome."""
        self._log.close()
        self._waiting.end()


def _percent(alpha: Fraction) -> str:
    return f"{float(alpha):.4%}"
