"""Pre-bid filter by name: sites of content farms and search spam, against press and OpenDNS names.

The list is of content farms and search spam, and no audit of made-for-advertising sites.
"""

from __future__ import annotations

from pathlib import Path

from trainer.examples import of_texts
from trainer.recipes.domains import SAFE, plain_names, registered
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import read_columns
from trainer.spec.spec import Spec

UT1 = Path("..") / "brand_safety" / "ut1_categories.tsv.gz"


def load(spec: Spec) -> Loaded:
    """The names with the list that they are from as a slice. Raises InputError."""
    path = spec.path(spec.data.path)
    farms_of = read_columns(path)
    beside = path.parent / UT1
    table = read_columns(beside)
    farms = {
        name.lower(): group
        for name, group in zip(farms_of["domain"], farms_of["group"], strict=True)
        if "/" not in name
    }
    known = {registered(name) for name in farms}
    safe = {
        value.lower(): category
        for category, kind, value in zip(
            table["category"], table["kind"], table["value"], strict=True
        )
        if kind == "domain" and category in SAFE
    }
    safe |= {name: "opendns" for name in plain_names(beside) if name not in safe}
    safe = {name: kind for name, kind in safe.items() if registered(name) not in known}
    names = [*farms, *safe]
    return Loaded(
        of_texts(
            names,
            [1.0] * len(farms) + [0.0] * len(safe),
            ids=names,
            slices={"LIST": [*farms.values(), *safe.values()]},
        ),
        groups=tuple(registered(name) for name in names),
    )
