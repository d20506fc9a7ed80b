"""Canonical JSON: one value has one spelling, so what was signed can be compared byte by byte.

ASCII, keys sorted, no white space. A subset of RFC 8785: where that allows floating-point numbers
there are none here, because their spelling differs between languages; decimals travel as strings.
Keys are ASCII, so that sorting by byte, by code point and by UTF-16 unit (as RFC 8785 does) is one
order.

Strings must be in Unicode's normal form C and of assigned characters. They are refused, not
normalised: nobody's signed words are changed behind their back, and no name can be written in two
ways that look the same. Unassigned characters are refused because a later Unicode could normalise
them; for assigned ones the form is stable.
"""

import hashlib
import json
import unicodedata
from typing import Any, NoReturn

from governance.errors import MalformedError

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_INTEGER = (1 << 53) - 1


def encode(value: object) -> bytes:
    """Spell a value of dict, list, str, int, bool and None.

    Raises:
        MalformedError: another type, a float among them (`float`, `unsupported_type`), an integer
            beyond ±(2^53 - 1), a string that is not in normal form C, deeper than 32 levels, more
            than 1 MiB.

    """
    _check(value, 0)
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    if len(text) > MAX_BYTES:
        raise _too_large(len(text))
    return text.encode("ascii")


def decode(data: bytes) -> Any:
    """Read bytes that are exactly the canonical spelling of a value.

    Raises:
        MalformedError: anything else; the reason says what: `too_large`, `not_json`,
            `duplicate_key`, `float`, `number_out_of_range`, `too_deep`, `not_normal_form`,
            `not_canonical`.

    """
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    value = parse_json(data)
    if encode(value) != data:
        raise MalformedError(
            "not_canonical",
            "the document is not in canonical form",
            expected="sorted keys, no white space, ASCII with \\u escapes",
        )
    return value


def parse_json(data: bytes) -> Any:
    """Read JSON of any spelling, without duplicate keys, floats and large integers.

    Raises:
        MalformedError: with the reasons of `decode`, but for size and spelling.

    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_integer,
        )
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise MalformedError("not_json", f"the document is not JSON: {error}") from None


def digest(data: bytes) -> str:
    """`sha256:` and the SHA-256 of the bytes in hex."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _check(value: object, depth: int) -> None:
    # Exact types: a subclass (an enumeration, say) could spell itself otherwise.
    kind = type(value)
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, str) and kind is str:
        _check_text(value)
    elif isinstance(value, int) and kind is int:
        if abs(value) > MAX_INTEGER:
            raise _out_of_range()
    elif isinstance(value, list) and kind is list:
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise MalformedError("bad_key", f"{key!r} is not a key", expected="ASCII strings")
            _check(item, depth + 1)
    elif isinstance(value, float):
        _no_float(repr(value))
    elif value is not None and kind is not bool:
        raise MalformedError("unsupported_type", f"{kind.__name__} has no canonical spelling")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    if not unicodedata.is_normalized("NFC", text):
        raise MalformedError("not_normal_form", f"{text!r} is not in Unicode normal form C")
    if any(unicodedata.category(character) in ("Cn", "Cs") for character in text):
        raise MalformedError("not_normal_form", f"{text!r} holds characters that are not assigned")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedError("duplicate_key", f"the key {twice!r} occurs twice in one object")
    return found


def _integer(text: str) -> int:
    # Before int(), whose time grows with the square of the digits.
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise _out_of_range()
    return int(text)


def _no_float(text: str) -> NoReturn:
    raise MalformedError(
        "float", f"{text} is a floating-point number", expected="decimals as strings"
    )


def _out_of_range() -> MalformedError:
    return MalformedError("number_out_of_range", "a number is out of range", expected="±(2^53 - 1)")


def _too_deep() -> MalformedError:
    return MalformedError(
        "too_deep", "the document is nested too deep", expected=f"{MAX_DEPTH} levels"
    )


def _too_large(size: int) -> MalformedError:
    return MalformedError(
        "too_large", f"the document has {size} bytes", expected=f"at most {MAX_BYTES}"
    )
