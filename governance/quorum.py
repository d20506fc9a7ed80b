"""Whether the people who signed amount to what a rule asks for."""

from collections.abc import Mapping, Sequence, Set


def assign(roles: Sequence[str], held: Mapping[str, Set[str]]) -> dict[str, str] | None:
    """Give every role a person of its own, or return None if that cannot be done.

    Bipartite matching by augmenting paths (Kuhn): whoever holds two roles may fill either, and
    nobody fills two.

    Args:
        roles: the roles to fill; one that occurs twice wants two people.
        held: for each person the roles that they hold.

    Returns:
        For each person chosen the role that they fill.

    """
    filled: dict[str, int] = {}

    def fill(index: int, tried: set[str]) -> bool:
        for person in sorted(held):
            if roles[index] in held[person] and person not in tried:
                tried.add(person)
                if person not in filled or fill(filled[person], tried):
                    filled[person] = index
                    return True
        return False

    if not all(fill(index, set()) for index in range(len(roles))):
        return None
    return {person: roles[index] for person, index in filled.items()}
