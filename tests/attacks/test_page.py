"""The page of named attacks names those that are tried, and no other."""

from tests.attacks.listed import PAGE, page


def test_the_page_of_attacks_is_what_the_tests_are() -> None:
    assert PAGE.read_text() == page(), "python -m tests.attacks.listed writes it anew"
