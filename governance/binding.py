"""What a verified statement is bound to."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from governance.errors import StatementError
from governance.predicates import Predicate

P = TypeVar("P", bound=Predicate)


@dataclass(frozen=True)
class Verified(Generic[P]):
    """A statement whose signature was checked.

    Attributes:
        name: the model's name.
        digest: the payload's digest, by which other statements name this one.
        predicate: what it says.
        key: the public key that signed.

    """

    name: str
    digest: str
    predicate: P
    key: bytes


def bound(what: str, said: object, expected: object) -> None:
    """Refuse a statement that was signed for something else.

    Raises:
        StatementError: the reason is `wrong_` and what differs.

    """
    if said != expected:
        raise StatementError(
            f"wrong_{what}",
            f"it was signed for {what.replace('_', ' ')} {said}",
            expected=str(expected),
        )
