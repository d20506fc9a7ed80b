"""Outcomes that come later: which of two models was right, and what that changes of the counts."""

from dataclasses import dataclass
from typing import Final, Self

YES: Final = 0.5
"""A label from here on is a yes."""


@dataclass(frozen=True)
class Labels:
    """Labelled pairs, and those of them in which one model alone was wrong.

    As a change of counts the numbers may be negative: the last word on a pair counts.
    """

    labelled: int = 0
    only_candidate_wrong: int = 0
    only_incumbent_wrong: int = 0

    def __add__(self, other: Self) -> "Labels":
        return Labels(
            self.labelled + other.labelled,
            self.only_candidate_wrong + other.only_candidate_wrong,
            self.only_incumbent_wrong + other.only_incumbent_wrong,
        )

    def __sub__(self, other: Self) -> "Labels":
        return Labels(
            self.labelled - other.labelled,
            self.only_candidate_wrong - other.only_candidate_wrong,
            self.only_incumbent_wrong - other.only_incumbent_wrong,
        )


def labelled(incumbent: bool, candidate: bool, truth: bool) -> Labels:
    """Count one pair: what each decided, and what was right."""
    return Labels(
        1,
        int(candidate != truth and incumbent == truth),
        int(incumbent != truth and candidate == truth),
    )
