"""An alarm that may be looked at after every request, with a stated rate of false ones.

Each watched column (a feature, a score, a loss) gives a rank: where the new value lies among the
reference and all that came since, ties broken at random. While nothing changes these ranks are
independent and uniform (conformal p-values: Vovk, Gammerman, Shafer 2005). A bet b(p) with mean 1
under the uniform and its detector

    M_t = (M_{t-1} + 1) * b(p_t)

form an e-detector of Shiryaev and Roberts' kind (Shin, Ramdas, Rinaldo 2024, "E-detectors",
sections 2.2 and 2.4): at any stopping time its mean is at most that of the time, and so is the mean
of many of them, over columns and bets. Stopping when the mean reaches `every` therefore comes,
while nothing changes, after at least `every` requests on average: that is the stated rate.

Values are kept as counts in bins of the reference's quantiles, so memory does not grow; a rank
within a bin is drawn, which keeps it uniform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainer.errors import InputError

Floats = npt.NDArray[np.float64]

BINS = 256
# Requests whose ranks among each other are computed in one step.
BLOCK = 64
# Bets on values that move up or down, and on values that spread or gather.
MOVES = (-0.9, -0.5, -0.2, -0.08, 0.08, 0.2, 0.5, 0.9)
SPREADS = (-0.5, -0.2, 0.2, 0.5)
BETS = len(MOVES) + len(SPREADS)
LEAST_REFERENCE = 200


@dataclass(frozen=True)
class Alarm:
    """That something changed.

    Attributes:
        at: how many requests had come.
        evidence: the detector's value, at least `every`.
        column: what moved most, by its own detectors.
        since: about how many requests ago it began, by that column's best start.
    """

    at: int
    evidence: float
    column: str
    since: int


@dataclass
class Detector:
    """Watches columns of requests as they come.

    Attributes:
        columns: c names.
        edges: for each column its bins' inner edges.
        counts: float64 [c, BINS], values seen so far.
        every: the mean number of requests between two false alarms is at least this.
        seed: of the draws that break ties.
    """

    columns: tuple[str, ...]
    edges: list[Floats]
    counts: Floats
    every: float
    seed: int
    seen: int = 0
    alarm: Alarm | None = None
    log_m: Floats = field(default_factory=lambda: np.zeros(0))
    started: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    random: np.random.Generator = field(default_factory=np.random.default_rng)

    @classmethod
    def on(
        cls, reference: npt.ArrayLike, columns: Sequence[str], *, every: float, seed: int = 7
    ) -> Detector:
        """A detector that knows a reference, float [n, c].

        Raises:
            InputError: too few reference rows, or values that are not finite.
        """
        known = np.asarray(reference, np.float64)
        if known.ndim != 2 or known.shape[1] != len(columns) or len(known) < LEAST_REFERENCE:
            raise InputError(
                f"A drift reference must have {LEAST_REFERENCE} rows and {len(columns)} columns, "
                f"not {known.shape}."
            )
        if not np.isfinite(known).all():
            raise InputError("A drift reference must hold finite numbers.")
        steps = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = [np.unique(np.quantile(column, steps)) for column in known.T]
        counts = np.zeros((len(columns), BINS))
        for number, (column, edge) in enumerate(zip(known.T, edges, strict=True)):
            places = np.searchsorted(edge, column, side="left")
            counts[number] = np.bincount(places, minlength=BINS)
        made = cls(tuple(columns), edges, counts, every, seed)
        made.log_m = np.full((len(columns), BETS), -np.inf)
        made.started = np.zeros((len(columns), BETS), np.int64)
        made.random = np.random.default_rng(seed)
        return made

    def feed(self, rows: npt.ArrayLike) -> Alarm | None:
        """Take requests, float [m, c], in their order; the first alarm, if there was one.

        After an alarm nothing more is taken: begin anew on a new reference.

        Raises:
            InputError: another number of columns.
        """
        given = np.asarray(rows, np.float64)
        if given.ndim != 2 or given.shape[1] != len(self.columns):
            raise InputError(f"Requests must have {len(self.columns)} columns, not {given.shape}.")
        for at in range(0, len(given), BLOCK):
            if self.alarm is None:
                self._block(given[at : at + BLOCK])
        return self.alarm

    def evidence(self) -> float:
        """The mean of all detectors: an alarm when it reaches `every`."""
        return float(np.exp(_log_mean(self.log_m)))

    def _block(self, rows: Floats) -> None:
        for p in self._ranks(rows):
            bets = np.log(bets_on(p))
            # log(M + 1): a run that begins now has 1 to bet.
            fresh = self.log_m < 0
            self.started[fresh] = self.seen
            self.log_m = np.logaddexp(self.log_m, 0.0) + bets
            self.seen += 1
            if _log_mean(self.log_m) >= np.log(self.every):
                column = int(np.argmax(self.log_m.max(axis=1)))
                bet = int(np.argmax(self.log_m[column]))
                self.alarm = Alarm(
                    self.seen,
                    self.evidence(),
                    self.columns[column],
                    self.seen - int(self.started[column, bet]),
                )
                return

    def _ranks(self, rows: Floats) -> Floats:
        """float64 [m, c]: each value's rank among all before it, in (0, 1), and count it in."""
        m, c = rows.shape
        # What is no number is beyond everything: a column that begins to be missing is seen.
        held = np.where(np.isfinite(rows), rows, np.inf)
        places = np.stack(
            [np.searchsorted(edge, held[:, j], side="left") for j, edge in enumerate(self.edges)],
            axis=1,
        )
        below = np.cumsum(self.counts, axis=1) - self.counts
        columns = np.arange(c)
        less, same = below[columns, places], self.counts[columns, places]
        earlier = np.tril(np.ones((m, m)), -1)
        less = less + np.einsum("ij,ijc->ic", earlier, places[None, :, :] < places[:, None, :])
        same = same + np.einsum("ij,ijc->ic", earlier, places[None, :, :] == places[:, None, :])
        total = self.counts.sum(axis=1) + np.arange(m)[:, None]
        drawn = self.random.random((m, c))
        for j in range(c):
            self.counts[j] += np.bincount(places[:, j], minlength=BINS)
        return np.asarray((less + drawn * (same + 1)) / (total + 1))


def bets_on(p: Floats) -> Floats:
    """float64 [c, BETS]: each bet on ranks p, float64 [c]; its mean under the uniform is 1."""
    moved = 2 * p[:, None] - 1
    spread = 2 * np.abs(moved) - 1
    return np.concatenate([1 + np.array(MOVES) * moved, 1 + np.array(SPREADS) * spread], axis=1)


def _log_mean(log_m: Floats) -> float:
    most = float(log_m.max())
    if most == -np.inf:
        return most
    return most + float(np.log(np.mean(np.exp(log_m - most))))
