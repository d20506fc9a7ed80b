"""The shadow policy: what is compared, by which limits, for how long. Data, parsed strictly."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from governance.shadow.errors import ShadowError

_DECIMAL = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MOST_SEGMENTS: Final = 32


@dataclass(frozen=True)
class Field:
    """One key of the policy: its default, its form and the range of its value.

    `form`: "rate" and "ratio" are decimals as strings, "int" a whole number, "word" one of the two
    words `low` and `high`. `null`: may be null.
    """

    default: str | int | None
    form: str
    low: str | int
    high: str | int
    what: str
    null: bool = False


FIELDS: Final[Mapping[str, Field]] = {
    "alpha": Field("0.01", "rate", "0.000001", "0.2", "chance of a false PASS, all attempts"),
    "disagreement_limit": Field("0.005", "rate", "0.000001", "0.5", "decisions that differ"),
    "flip_up_limit": Field(None, "rate", "0.000001", "0.5", "below to above the threshold", True),
    "flip_down_limit": Field(None, "rate", "0.000001", "0.5", "above to below it", True),
    "score_epsilon": Field("0.05", "ratio", "0.000001", "999999", "a score that moved"),
    "score_limit": Field(None, "rate", "0.000001", "0.5", "scores moved further than that", True),
    "error_limit": Field("0.001", "rate", "0.000001", "0.5", "errors and time-outs"),
    "latency_ratio": Field("1.05", "ratio", "1", "10", "p99 of the candidate to the incumbent's"),
    "window_pairs": Field(1000, "int", 100, 100_000, "pairs in one latency window"),
    "shed_limit": Field("0.01", "rate", "0", "0.2", "share of chosen pairs that may be shed"),
    "incumbent_error_limit": Field("0.01", "rate", "0", "0.2", "… whose incumbent may fail"),
    "block_ms": Field(200, "int", 1, 60_000, "length of a time block; one pair each"),
    "caller_pairs_per_hour": Field(2000, "int", 1, 1_000_000, "pairs of one caller in one hour"),
    "caller_share": Field("0.5", "rate", "0.01", "1", "share of one caller in all pairs"),
    "min_hours": Field(24, "int", 0, 24 * 90, "hours that have to be seen"),
    "n_min": Field(500, "int", 1, 10**9, "pairs that have to be there"),
    "n_max": Field(1_000_000, "int", 1, 10**9, "pairs after which it is over"),
    "t_max_hours": Field(24 * 7, "int", 1, 24 * 365, "hours after which it is over"),
    "labelled_min": Field(0, "int", 0, 10**9, "pairs whose outcome has to have come"),
    "label_limit": Field(
        None,
        "rate",
        "0.000001",
        "0.5",
        "labelled pairs in which the candidate alone is wrong",
        True,
    ),
    "mcnemar": Field(
        None, "word", "better", "not_worse", "what outcomes have to show by McNemar's test", True
    ),
    "silent_minutes": Field(
        None, "int", 1, 10_080, "after which a gateway that is silent holds no time back", True
    ),
}
_OPTIONAL: Final = {"segments", "seed_commitment"}


@dataclass(frozen=True)
class Segment:
    """A stratum with a limit of its own on disagreement and a least number of pairs."""

    name: str
    limit: Fraction
    n_min: int


@dataclass(frozen=True)
class Gate:
    """A question put to counts: is `events` of `trials` below the limit?

    `trials` and `events` name counts of a comparison. Of a "sign" they are windows and good
    windows, and the limit is that more than half of them are good. Of "better" and "not_worse" they
    are labelled pairs in which one model alone was wrong, and those in which the candidate was.
    """

    name: str
    what: str
    trials: str
    events: str
    limit: Fraction
    kind: Literal["rate", "sign", "better", "not_worse"] = "rate"

    @property
    def windows(self) -> bool:
        """Whether it counts windows, and not pairs."""
        return self.kind == "sign"

    @property
    def mcnemar(self) -> bool:
        """Whether it weighs who was wrong against who was."""
        return self.kind in ("better", "not_worse")


@dataclass(frozen=True)
class ShadowPolicy:
    """A checked policy. Rates are exact fractions; hours and milliseconds as named."""

    alpha: Fraction
    disagreement_limit: Fraction
    flip_up_limit: Fraction | None
    flip_down_limit: Fraction | None
    score_epsilon: Fraction
    score_limit: Fraction | None
    error_limit: Fraction
    latency_ratio: Fraction
    window_pairs: int
    shed_limit: Fraction
    incumbent_error_limit: Fraction
    block_ms: int
    caller_pairs_per_hour: int
    caller_share: Fraction
    min_hours: int
    n_min: int
    n_max: int
    t_max_hours: int
    labelled_min: int = 0
    label_limit: Fraction | None = None
    mcnemar: Literal["better", "not_worse"] | None = None
    silent_minutes: int | None = None
    segments: tuple[Segment, ...] = ()
    seed_commitment: str | None = None

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Gates that all have to hold for a PASS, in the order in which they are told."""
        rates = [
            Gate("disagreement", "decisions that differ", "n", "d", self.disagreement_limit),
            Gate("errors", "errors and time-outs", "n", "failed", self.error_limit),
            Gate("flips_up", "decisions turned up", "n", "flips_up", self.flip_up_limit or HALF),
            Gate(
                "flips_down",
                "decisions turned down",
                "n",
                "flips_down",
                self.flip_down_limit or HALF,
            ),
            Gate("scores", "scores that moved", "n", "moved", self.score_limit or HALF),
        ]
        off = {
            "flips_up": self.flip_up_limit is None,
            "flips_down": self.flip_down_limit is None,
            "scores": self.score_limit is None,
        }
        return (
            *(gate for gate in rates if not off.get(gate.name, False)),
            *(
                Gate(
                    f"segment_{s.name}",
                    f"decisions that differ in {s.name}",
                    f"segment:{s.name}:n",
                    f"segment:{s.name}:d",
                    s.limit,
                )
                for s in self.segments
            ),
            Gate("latency", "windows whose p99 is good", "windows", "good_windows", HALF, "sign"),
            *self._label_gates,
        )

    @property
    def _label_gates(self) -> Iterator[Gate]:
        """Gates on outcomes, if they are asked for."""
        what, against = "labelled pairs in which it alone is wrong", "only_candidate_wrong"
        if self.label_limit is not None:
            yield Gate("labels", what, "labelled", against, self.label_limit)
        if self.mcnemar is not None:
            yield Gate("mcnemar", what, "one_wrong", against, HALF, self.mcnemar)

    def alpha_of(self, attempt: int) -> Fraction:
        """What attempt number `attempt` may spend: alpha / (k (k + 1)), which sums to alpha.

        Raises:
            ShadowError: attempts are counted from 1.

        """
        if attempt < 1:
            raise ShadowError("bad_attempt", f"attempts are counted from 1, not {attempt}")
        return self.alpha / (attempt * (attempt + 1))


HALF: Final = Fraction(1, 2)


def parse_policy(value: Mapping[str, Any]) -> ShadowPolicy:
    """Read a policy from a plain mapping; what is left out has its default.

    Raises:
        ShadowError: a key is unknown, a value has the wrong form or is out of its range, or two
            values contradict each other.

    """
    for key in value:
        if key not in FIELDS and key not in _OPTIONAL:
            near = difflib.get_close_matches(str(key), [*FIELDS, *_OPTIONAL], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ShadowError("unknown_key", f"a shadow policy has no key {key!r}{hint}")
    read = {key: _value(key, value.get(key, field.default)) for key, field in FIELDS.items()}
    commitment = value.get("seed_commitment")
    if commitment is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", str(commitment)):
        raise ShadowError("bad_value", "seed_commitment is sha256: and 64 hex digits")
    policy = ShadowPolicy(
        **read, segments=_segments(value.get("segments", {})), seed_commitment=commitment
    )
    if policy.n_min > policy.n_max or policy.min_hours > policy.t_max_hours:
        raise ShadowError("contradiction", "n_min must not exceed n_max, nor min_hours t_max_hours")
    if policy.mcnemar == "not_worse" and not policy.labelled_min:
        raise ShadowError(
            "contradiction", "mcnemar = not_worse needs labelled_min: no label shows nothing wrong"
        )
    return policy


def _value(key: str, value: Any) -> Any:
    field = FIELDS[key]
    if value is None and field.null:
        return None
    if field.form == "word":
        if value not in (field.low, field.high):
            raise ShadowError("bad_value", f"{key} is {field.low} or {field.high}, not {value!r}")
        return value
    whole = field.form == "int"
    if whole and type(value) is not int:
        raise ShadowError("bad_value", f"{key} is a whole number, not {value!r}")
    if not whole and not (isinstance(value, str) and _DECIMAL.fullmatch(value)):
        raise ShadowError("bad_value", f'{key} is a decimal in quotes like "0.005", not {value!r}')
    number = value if whole else Fraction(value)
    if not Fraction(field.low) <= number <= Fraction(field.high):
        raise ShadowError("out_of_range", f"{key} = {value} is not in {field.low} to {field.high}")
    return number


def _segments(value: Any) -> tuple[Segment, ...]:
    if not isinstance(value, Mapping) or len(value) > MOST_SEGMENTS:
        raise ShadowError("bad_value", f"segments is an object of at most {MOST_SEGMENTS} names")
    found = []
    for name, told in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ShadowError("bad_value", f"{name!r} cannot name a segment: a-z, 0-9 and _")
        if not isinstance(told, Mapping) or set(told) != {"limit", "n_min"}:
            raise ShadowError("unknown_key", f"segment {name} has exactly the keys limit and n_min")
        limit, n_min = _value("disagreement_limit", told["limit"]), _value("n_min", told["n_min"])
        found.append(Segment(name, limit, n_min))
    return tuple(found)
