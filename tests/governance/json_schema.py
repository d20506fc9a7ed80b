"""As much of JSON Schema (draft 2020-12) as the published schemas use, read from the standard.

Written apart from the parsers: it is what a program in another language would do.
"""

import re
from collections.abc import Callable
from typing import Any

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
}
PASSED_OVER = {"$schema", "$id", "title", "description"}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Whether the value is valid; a keyword that is not known here is an error."""
    return all(
        KEYWORDS[word](schema, schema[word], value) for word in schema if word not in PASSED_OVER
    )


def _properties(_: dict[str, Any], properties: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    return all(accepts(found, value[name]) for name, found in properties.items() if name in value)


def _additional(schema: dict[str, Any], said: Any, value: Any) -> bool:
    if not isinstance(value, dict):
        return True
    more = [item for name, item in value.items() if name not in schema.get("properties", {})]
    return not more if said is False else all(accepts(said, item) for item in more)


def _matches(pattern: str, value: str) -> bool:
    # ECMA-262's $ is the very end; Python's also stands before a last line feed.
    return re.search(pattern.removesuffix("$") + r"\Z", value) is not None


def _sized(
    kind: type[str] | type[list[Any]], compare: Callable[[int, int], bool]
) -> Callable[[Any, int, Any], bool]:
    return lambda _, bound, value: not isinstance(value, kind) or compare(len(value), bound)


KEYWORDS: dict[str, Callable[[dict[str, Any], Any, Any], bool]] = {
    "type": lambda _, said, value: TYPES[said](value),
    "const": lambda _, said, value: value == said and type(value) is type(said),
    "enum": lambda _, said, value: isinstance(value, str) and value in said,
    "anyOf": lambda _, said, value: any(accepts(one, value) for one in said),
    "items": lambda _, said, value: (
        not isinstance(value, list) or all(accepts(said, item) for item in value)
    ),
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda _, said, value: not isinstance(value, dict) or set(said) <= set(value),
    "minItems": _sized(list, int.__ge__),
    "maxItems": _sized(list, int.__le__),
    "minLength": _sized(str, int.__ge__),
    "maxLength": _sized(str, int.__le__),
    "minimum": lambda _, said, value: not TYPES["integer"](value) or value >= said,
    "maximum": lambda _, said, value: not TYPES["integer"](value) or value <= said,
    "pattern": lambda _, said, value: not isinstance(value, str) or _matches(said, value),
}
