"""SipHash-2-4 against the vectors that its authors publish."""

import pytest

from governance.shadow.siphash import siphash24

KEY = bytes(range(16))


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "310e0edd47db6f72"),
        (1, "fd67dc93c539f874"),
        (7, "37d1018bf50002ab"),
        (8, "6224939a79f5f593"),
        (15, "e545be4961ca29a1"),
        (16, "db9bc2577fcc2a3f"),
        (63, "724506eb4c328a95"),
    ],
)
def test_the_hash_is_that_of_the_published_vectors(length: int, expected: str) -> None:
    message = bytes(range(length))
    assert siphash24(KEY, message).to_bytes(8, "little").hex() == expected


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        siphash24(bytes(15), b"")
