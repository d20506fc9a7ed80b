"""Brand safety by a site's name alone: what callers know before a page is fetched.

Unsafe: UT1's categories of harm and four hosts lists (pornography, gambling, snuff). Safe: the
OpenDNS names of 2014 and UT1's press, less every name that is in an unsafe list. Names of one
registered domain stay on one side of the split.
"""

from __future__ import annotations

from pathlib import Path

from trainer.examples import of_texts
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import read_columns
from trainer.spec.spec import Spec

HOSTS = "sinfonietta_hosts.tsv.gz"
PLAIN = ("opendns-top-domains.txt", "opendns-random-domains.txt")
UNSAFE = frozenset(
    {
        "adult",
        "agressif",
        "cryptojacking",
        "dangerous_material",
        "dating",
        "ddos",
        "drogue",
        "gambling",
        "hacking",
        "malware",
        "mixed_adult",
        "phishing",
        "sect",
        "stalkerware",
        "tricheur",
        "warez",
    }
)
UNSAFE_HOSTS = frozenset({"pornography", "gambling", "snuff"})
SAFE = frozenset({"press", "radio"})
# Second labels under which anybody registers, as in example.co.uk.
SECOND = frozenset({"co", "com", "net", "org", "gov", "ac", "edu", "or", "ne", "go", "gob", "info"})


def load(spec: Spec) -> Loaded:
    """The names with their category as a slice. Raises InputError."""
    path = spec.path(spec.data.path)
    table = read_columns(path)
    hosts = read_columns(path.with_name(HOSTS))
    unsafe: dict[str, str] = {}
    safe: dict[str, str] = {}
    for category, kind, value in zip(table["category"], table["kind"], table["value"], strict=True):
        if kind == "domain" and category in UNSAFE:
            unsafe.setdefault(value.lower(), category)
        elif kind == "domain" and category in SAFE:
            safe.setdefault(value.lower(), category)
    for category, value in zip(hosts["category"], hosts["domain"], strict=True):
        if category in UNSAFE_HOSTS:
            unsafe.setdefault(value.lower().removeprefix("www."), category)
    for name in plain_names(path):
        safe.setdefault(name, "opendns")
    known = {registered(name) for name in unsafe}
    safe = {name: kind for name, kind in safe.items() if registered(name) not in known}
    names = [*unsafe, *safe]
    return Loaded(
        of_texts(
            names,
            [1.0] * len(unsafe) + [0.0] * len(safe),
            ids=names,
            slices={"CATEGORY": [*unsafe.values(), *safe.values()]},
        ),
        groups=tuple(registered(name) for name in names),
    )


def plain_names(path: Path) -> list[str]:
    """The OpenDNS names beside `path`. Raises InputError."""
    found: list[str] = []
    for file in PLAIN:
        found += column_of_lines(path.with_name(file))
    return list(dict.fromkeys(found))


def column_of_lines(path: Path) -> list[str]:
    """A file's lines, lower case. Raises InputError."""
    from trainer.errors import InputError  # noqa: PLC0415

    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    return [line.strip().lower() for line in text.splitlines() if line.strip()]


def registered(name: str) -> str:
    """The part of a name that somebody registered, by rule of thumb and without a list."""
    parts = name.rstrip(".").split(".")
    keep = 3 if len(parts) > 2 and parts[-2] in SECOND and len(parts[-1]) == 2 else 2
    return ".".join(parts[-keep:])
