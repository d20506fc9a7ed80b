"""Documents as frozen dataclasses: their annotations read, write and publish them.

One description serves three ends, so they cannot disagree: `read` builds the dataclass from a
decoded document and refuses whatever is not described, `write` turns it back, and `schema` is the
JSON Schema (draft 2020-12) that other programs get.

A field is an annotation: `int`, `str`, `bool`, a `Literal` of strings, another dataclass,
`X | None` (null is allowed, absence is not), `tuple[X, ...]` for a list, `dict[str, X]` for a table
and `Any` for what is another module's to read; `Annotated` adds `Pattern` or `Between`. A field
whose default is None may be absent and is not written then. In documents names are in camelCase, as
in-toto's are; a dataclass with `SNAKE_CASE = True` keeps its own.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, TypeVar

from governance.canonical import MAX_INTEGER
from governance.errors import MalformedError

MAX_TEXT = 4096
MAX_ITEMS = 4096

T = TypeVar("T")


@dataclass(frozen=True)
class Pattern:
    """Text that a regular expression matches from beginning to end."""

    regex: str


@dataclass(frozen=True)
class Between:
    """Least and most: of an integer, of a text's characters or of a list's items."""

    least: int
    most: int


class Shape(Protocol):
    """What a value in a document must look like."""

    def read(self, value: object, at: str) -> Any:
        """The value for the dataclass; `at` says where it stands, for the error."""

    def write(self, value: Any) -> Any:
        """The value for the document."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the value."""


def read(kind: type[T], value: object, at: str = "document") -> T:
    """Build a dataclass from a decoded document.

    Raises:
        MalformedError: `unknown_field`, `missing_field`, `wrong_type` or `bad_value`, and whatever
            the dataclass's own `__post_init__` finds.

    """
    found: T = shape_of(kind).read(value, at)
    return found


def write(document: object) -> Any:
    """The dataclass as dict, list, str, int, bool and None."""
    return shape_of(type(document)).write(document)


def schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a dataclass."""
    return shape_of(kind).schema()


def shape_of(kind: type[Any]) -> "Record":
    """The shape that a dataclass's annotations describe."""
    hashable: Any = kind
    return _records(hashable)


@cache
def _records(kind: Any) -> "Record":
    hints = typing.get_type_hints(kind, include_extras=True)
    snake = bool(getattr(kind, "SNAKE_CASE", False))
    fields = {}
    for field in dataclasses.fields(kind):
        name = field.name if snake else _camel_case(field.name)
        fields[name] = Field(field.name, _compile(hints[field.name]), field.default is None)
    return Record(kind, fields)


@dataclass(frozen=True)
class Text:
    """A string, by length and pattern."""

    regex: str | None = None
    least: int = 0
    most: int = MAX_TEXT

    def read(self, value: object, at: str) -> str:
        """The same text."""
        if not isinstance(value, str):
            raise _wrong_type(at, "text")
        if not self.least <= len(value) <= self.most:
            raise _bad_value(at, f"{self.least} to {self.most} characters")
        if self.regex is not None and _compiled(self.regex).fullmatch(value) is None:
            raise _bad_value(at, f"text that matches {self.regex}")
        return value

    def write(self, value: str) -> str:
        """The same text."""
        return value

    def schema(self) -> dict[str, Any]:
        """A string."""
        found: dict[str, Any] = {"type": "string", "maxLength": self.most}
        if self.least:
            found["minLength"] = self.least
        if self.regex is not None:
            found["pattern"] = f"^(?:{self.regex})$"
        return found


@dataclass(frozen=True)
class Whole:
    """An integer within bounds."""

    least: int = -MAX_INTEGER
    most: int = MAX_INTEGER

    def read(self, value: object, at: str) -> int:
        """The same integer."""
        # True is an int in Python, and is none in a document.
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong_type(at, "an integer")
        if not self.least <= value <= self.most:
            raise _bad_value(at, f"{self.least} to {self.most}")
        return value

    def write(self, value: int) -> int:
        """The same integer."""
        return value

    def schema(self) -> dict[str, Any]:
        """An integer."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: object, at: str) -> bool:
        """The same."""
        if not isinstance(value, bool):
            raise _wrong_type(at, "true or false")
        return value

    def write(self, value: bool) -> bool:
        """The same."""
        return value

    def schema(self) -> dict[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    def read(self, value: object, at: str) -> str:
        """The same word."""
        if not isinstance(value, str):
            raise _wrong_type(at, "text")
        if value not in self.words:
            raise _bad_value(at, "one of " + ", ".join(self.words))
        return value

    def write(self, value: str) -> str:
        """The same word."""
        return value

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Nullable:
    """Null, or a value."""

    inner: Shape

    def read(self, value: object, at: str) -> Any:
        """None, or what the inner shape reads."""
        return None if value is None else self.inner.read(value, at)

    def write(self, value: Any) -> Any:
        """None, or what the inner shape writes."""
        return None if value is None else self.inner.write(value)

    def schema(self) -> dict[str, Any]:
        """Either."""
        return {"anyOf": [self.inner.schema(), {"type": "null"}]}


@dataclass(frozen=True)
class Items:
    """A list of values of one shape."""

    inner: Shape
    least: int = 0
    most: int = MAX_ITEMS

    def read(self, value: object, at: str) -> tuple[Any, ...]:
        """A tuple of what the inner shape reads."""
        if not isinstance(value, list):
            raise _wrong_type(at, "a list")
        if not self.least <= len(value) <= self.most:
            raise _bad_value(at, f"{self.least} to {self.most} items")
        return tuple(self.inner.read(item, f"{at}[{i}]") for i, item in enumerate(value))

    def write(self, value: tuple[Any, ...]) -> list[Any]:
        """A list."""
        return [self.inner.write(item) for item in value]

    def schema(self) -> dict[str, Any]:
        """An array."""
        return {
            "type": "array",
            "items": self.inner.schema(),
            "minItems": self.least,
            "maxItems": self.most,
        }


@dataclass(frozen=True)
class Table:
    """Names of the document's own choice, each with a value of one shape."""

    inner: Shape

    def read(self, value: object, at: str) -> dict[str, Any]:
        """A dict of what the inner shape reads."""
        found = _mapping(value, at)
        return {key: self.inner.read(item, f"{at}.{key}") for key, item in found.items()}

    def write(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """A dict."""
        return {key: self.inner.write(item) for key, item in value.items()}

    def schema(self) -> dict[str, Any]:
        """An object with any keys."""
        return {"type": "object", "additionalProperties": self.inner.schema()}


@dataclass(frozen=True)
class Opaque:
    """Anything: another module reads it."""

    def read(self, value: object, at: str) -> object:
        """The same."""
        return value

    def write(self, value: object) -> object:
        """The same."""
        return value

    def schema(self) -> dict[str, Any]:
        """Everything."""
        return {}


@dataclass(frozen=True)
class Field:
    """One field of a dataclass."""

    attribute: str
    shape: Shape
    may_be_absent: bool


@dataclass(frozen=True)
class Record:
    """A dataclass: exactly its fields."""

    kind: type
    fields: Mapping[str, Field]

    def read(self, value: object, at: str) -> Any:
        """An instance."""
        found = _mapping(value, at)
        for name in found.keys() - self.fields.keys():
            near = difflib.get_close_matches(name, self.fields, 1)
            raise MalformedError(
                "unknown_field",
                f"{at} has an unknown field {name!r}",
                expected=f"perhaps {near[0]!r}" if near else ", ".join(self.fields),
            )
        read_fields = {}
        for name, field in self.fields.items():
            if name in found:
                if field.may_be_absent and found[name] is None:
                    raise _wrong_type(f"{at}.{name}", "a value, or no such field")
                read_fields[field.attribute] = field.shape.read(found[name], f"{at}.{name}")
            elif not field.may_be_absent:
                raise MalformedError("missing_field", f"{at} has no field {name!r}")
        return self.kind(**read_fields)

    def write(self, value: Any) -> dict[str, Any]:
        """A dict by the names of the document."""
        written = {}
        for name, field in self.fields.items():
            item = getattr(value, field.attribute)
            if item is not None or not field.may_be_absent:
                written[name] = field.shape.write(item)
        return written

    def schema(self) -> dict[str, Any]:
        """An object with these properties and no other."""
        properties = {}
        for name, field in self.fields.items():
            shape = field.shape
            if field.may_be_absent and isinstance(shape, Nullable):
                shape = shape.inner
            properties[name] = shape.schema()
        return {
            "type": "object",
            "properties": properties,
            "required": [name for name, field in self.fields.items() if not field.may_be_absent],
            "additionalProperties": False,
        }


def _compile(hint: Any) -> Shape:  # noqa: PLR0911
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _constrain(_compile(arguments[0]), arguments[1:])
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) == 1:
            return Nullable(_compile(inner[0]))
    if origin is typing.Literal:
        return OneOf(arguments)
    if origin is tuple:
        return Items(_compile(arguments[0]))
    if origin is dict:
        return Table(_compile(arguments[1]))
    plain: dict[Any, Shape] = {str: Text(), int: Whole(), bool: Flag(), Any: Opaque()}
    if hint in plain:
        return plain[hint]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return shape_of(hint)
    raise TypeError(f"{hint} has no shape in a document")


def _constrain(shape: Shape, constraints: tuple[object, ...]) -> Shape:
    for constraint in constraints:
        if isinstance(constraint, Pattern) and isinstance(shape, Text):
            shape = dataclasses.replace(shape, regex=constraint.regex)
        elif isinstance(constraint, Between) and isinstance(shape, Text | Whole | Items):
            shape = dataclasses.replace(shape, least=constraint.least, most=constraint.most)
        else:
            raise TypeError(f"{constraint} says nothing about {shape}")
    return shape


@cache
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex)


def _mapping(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type(at, "an object")
    return value


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _wrong_type(at: str, expected: str) -> MalformedError:
    return MalformedError("wrong_type", f"{at} has the wrong type", expected=expected)


def _bad_value(at: str, expected: str) -> MalformedError:
    return MalformedError("bad_value", f"{at} has a value that is not allowed", expected=expected)
