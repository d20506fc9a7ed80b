"""The batch shapes that are bound at load, and the profiles that a plan is built for.

A batch of the data plane has any number of rows and tokens; it runs in the least rung that holds
it, padded with zeros.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.engines.contract import Bucket, Tensor

Shape = tuple[int, ...]
# A profile: for each input with a variable dimension its least, best and greatest shape.
Profile = dict[str, tuple[Shape, Shape, Shape]]

SHORTEST = 16
# Rows of a profile's greatest batch; the best is the greatest of it.
PROFILE_ROWS = (1, 8)


def _steps(first: int, most: int) -> Iterator[int]:
    while first < most:
        yield first
        first *= 2
    yield most


def _sizes(wished: Sequence[int], first: int, most: int) -> list[int]:
    return sorted({size for size in wished or _steps(first, most) if size < most} | {most})


@dataclass(frozen=True)
class Ladder:
    """Rungs in ascending order; `variable` if rows have a length."""

    rows: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def rungs(self) -> tuple[Bucket, ...]:
        """Every rung, fewest rows first."""
        return tuple(Bucket(rows, length) for rows in self.rows for length in self.lengths)

    @property
    def largest(self) -> Bucket:
        """What the lane was opened for."""
        return Bucket(self.rows[-1], self.lengths[-1])

    def holds(self, bucket: Bucket) -> bool:
        """Whether some rung is large enough."""
        return bucket.rows <= self.rows[-1] and bucket.length <= self.lengths[-1]

    def rung_for(self, bucket: Bucket) -> Bucket:
        """The least rung that holds a bucket; there must be one."""
        rows = next(rows for rows in self.rows if rows >= bucket.rows)
        return Bucket(rows, next(length for length in self.lengths if length >= bucket.length))


def is_variable(tensor: Tensor) -> bool:
    """Whether a row's size depends on the bucket's length."""
    return -1 in tensor.shape[1:]


def ladder(
    inputs: Sequence[Tensor],
    largest: Bucket,
    rows: Sequence[int] = (),
    lengths: Sequence[int] = (),
) -> Ladder:
    """The rungs for a model; `rows` and `lengths` are wishes, powers of two without."""
    variable = any(is_variable(tensor) for tensor in inputs)
    batched = any(tensor.shape[:1] == (-1,) for tensor in inputs)
    return Ladder(
        tuple(_sizes(rows, 1, largest.rows)) if batched else (1,),
        tuple(_sizes(lengths, SHORTEST, largest.length)) if variable else (1,),
    )


def profile_of(rows: int) -> int:
    """Which profile a rung with so many rows runs in."""
    return sum(rows > most for most in PROFILE_ROWS)


def profiles(inputs: Sequence[Tensor], rungs: Ladder, one: bool = False) -> list[Profile]:
    """One profile for single rows, one for up to eight, one for more; none for fixed shapes.

    `one` makes it a single profile: what tensorrt_rtx gets, which fits kernels to each shape when
    it is bound. Its plans are a third as large so, and are built in half the time.
    """
    if not any(-1 in tensor.shape for tensor in inputs):
        return []
    groups: dict[int, list[int]] = {}
    for rows in rungs.rows:
        groups.setdefault(0 if one else profile_of(rows), []).append(rows)
    made: list[Profile] = []
    shortest, middle = rungs.lengths[0], rungs.lengths[len(rungs.lengths) // 2]
    for group in sorted(groups):
        few, many = groups[group][0], groups[group][-1]
        corners = Bucket(few, shortest), Bucket(many, middle), Bucket(many, rungs.lengths[-1])
        made.append(
            {
                tensor.name: (
                    tensor.batch_shape(corners[0]),
                    tensor.batch_shape(corners[1]),
                    tensor.batch_shape(corners[2]),
                )
                for tensor in inputs
                if -1 in tensor.shape
            }
        )
    return made


def profile_index(rungs: Ladder, rows: int) -> int:
    """The index of a rung's profile among those that `profiles` gave."""
    groups = sorted({profile_of(each) for each in rungs.rows})
    return groups.index(profile_of(rows))
