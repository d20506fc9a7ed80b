"""Which 32 bytes are a sound Ed25519 public key.

There are eight points of small order on the curve. A policy that lists one of them as a key lets
anyone sign for it: the equation S·B = R + h·A no longer depends on a secret. Libraries accept them,
so we look ourselves. Formulas: RFC 8032, 5.1.3 (decoding) and 5.1.4 (doubling).
"""

from functools import lru_cache

P = 2**255 - 19
_D = -121665 * pow(121666, -1, P) % P
_ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)


@lru_cache(maxsize=1024)
def is_sound(public: bytes) -> bool:
    """Whether the bytes decode, in their one spelling, to a point that is not of small order."""
    point = _decode(public)
    if point is None:
        return False
    x, y, z = *point, 1
    for _ in range(3):
        x, y, z = _double(x, y, z)
    return not (x == 0 and y == z)


def _decode(public: bytes) -> tuple[int, int] | None:
    if len(public) != 32:
        return None
    number = int.from_bytes(public, "little")
    y, sign = number & (1 << 255) - 1, number >> 255
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (_D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * _ROOT_OF_MINUS_ONE % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x), y


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    # Projective coordinates (X/Z, Y/Z): doubling needs no T of the extended ones.
    a, b, c = x * x % P, y * y % P, 2 * z * z % P
    h = a + b
    e = h - (x + y) ** 2
    g = a - b
    f = c + g
    return e * f % P, g * h % P, f * g % P
