"""Filling roles with people."""

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from governance.quorum import assign

ROLES = st.sampled_from(["a", "b", "c"])
HELD = st.dictionaries(st.sampled_from("uvwxy"), st.sets(ROLES), max_size=5)


@given(st.lists(ROLES, max_size=4), HELD)
def test_roles_are_filled_exactly_when_some_order_of_people_fills_them(
    roles: list[str], held: dict[str, set[str]]
) -> None:
    possible = any(
        all(role in held[person] for role, person in zip(roles, chosen, strict=True))
        for chosen in permutations(held, len(roles))
    )
    assigned = assign(roles, held)
    assert (assigned is not None) == possible
    if assigned is not None:
        assert sorted(assigned.values()) == sorted(roles)
        assert all(role in held[person] for person, role in assigned.items())
