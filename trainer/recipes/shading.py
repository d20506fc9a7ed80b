"""Bid shading on win prices: iPinYou 2259 sample (2013), rows that were won in second price.

`value` is the bid that was made (277 or 294 fen a thousand), `y` the least bid that would have
won. A bid b that wins (b at or above y) earns value - b, else nothing: the surplus.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.examples import Examples, Floats, Index, of_rows
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import Columns, numbers, read_columns
from trainer.spec.spec import Spec

TEST = "ipinyou_2259_test.log.tsv.gz"
# Names by how often they occur among rows to learn from become these codes; rarer ones are one.
NAMED = (
    "slotid",
    "domain",
    "region",
    "city",
    "adexchange",
    "useragent",
    "slotvisibility",
    "slotformat",
    "creative",
    "weekday",
    "hour",
)
RARE = 20
# What rows to learn from paid tells of a name what it costs: these columns, and columns together.
PRICED = (
    ("slotid",),
    ("domain",),
    ("slotid", "slotprice"),
    ("domain", "slotwidth", "slotheight"),
    ("adexchange", "slotwidth", "slotheight", "slotvisibility"),
    ("city",),
    ("useragent",),
    ("url",),
    ("usertag",),
    ("hour",),
    ("region",),
    ("city", "domain"),
    ("IP",),
)
SHARED = PRICED[:5]
LEVELS = (40, 80, 150, 220)
# A name's mean is drawn towards the mean of all by so many rows of it.
SHRINK = 5.0
FOLDS = 5


def load(spec: Spec) -> Loaded:
    """Training days and test days: 8,355 and 4,171 rows. Raises InputError.

    A part of the training days is the core set, the test days are held out. What names cost is
    learnt from the rest of the training days alone.
    """
    path = spec.path(spec.data.path)
    train = read_columns(path)
    test = read_columns(Path(path).with_name(TEST))
    both = {c: [*train[c], *test[c]] for c in train}
    n, size = len(train["payprice"]), len(both["payprice"])
    given = np.full(size, 2, np.int64)
    given[:n] = np.random.default_rng(spec.seed).random(n) < spec.data.core_share
    price = numbers("payprice", both["payprice"])
    names, x = encoded(both, price, given == 0, spec.seed)
    return Loaded(
        of_rows(
            x,
            price,
            names,
            value=numbers("bidprice", both["bidprice"]),
            slices={
                "ADEXCHANGE": both["adexchange"],
                "SIZE": [
                    f"{w}x{h}" for w, h in zip(both["slotwidth"], both["slotheight"], strict=True)
                ],
                "VISIBILITY": both["slotvisibility"],
            },
        ),
        given=given,
    )


def encoded(
    columns: Columns, price: Floats, known: npt.NDArray[np.bool_], seed: int
) -> tuple[tuple[str, ...], Floats]:
    """Features, float64 [n, f]; what names cost comes from the rows `known`, bool [n], alone."""
    found: dict[str, Floats] = {
        "VALUE": numbers("bidprice", columns["bidprice"]),
        "FLOOR": numbers("slotprice", columns["slotprice"]),
        "WIDTH": numbers("slotwidth", columns["slotwidth"]),
        "HEIGHT": numbers("slotheight", columns["slotheight"]),
        "HOUR": numbers("hour", columns["hour"]),
        "TAGS": np.array([float(len(t.split(","))) for t in columns["usertag"]]),
        "IP_A": np.array([_first(ip) for ip in columns["IP"]]),
    }
    found["AREA"] = found["WIDTH"] * found["HEIGHT"]
    for column in NAMED:
        counts = Counter(v for v, k in zip(columns[column], known, strict=True) if k)
        common = [name for name, count in counts.most_common() if count >= RARE]
        code = {name: float(i + 1) for i, name in enumerate(common)}
        found[f"{column}_code"] = np.array([code.get(v, 0.0) for v in columns[column]])
    fold = np.where(known, np.random.default_rng(seed).integers(0, FOLDS, len(known)), -1)
    for priced in PRICED:
        label = "+".join(priced)
        keys = ["|".join(values) for values in zip(*(columns[c] for c in priced), strict=True)]
        _, code_of = np.unique(np.array(keys), return_inverse=True)
        found[f"{label}_price"], found[f"{label}_rows"] = cost_of(code_of, price, fold)
        if priced in SHARED:
            for level in LEVELS:
                below = (price <= level).astype(np.float64)
                found[f"{label}_below_{level}"] = cost_of(code_of, below, fold)[0]
    return tuple(found), np.stack(list(found.values()), axis=1)


def cost_of(name: Index, paid: Floats, fold: Index) -> tuple[Floats, Floats]:
    """A name's mean of what was paid, shrunk, and on how many rows it rests.

    A row to learn from gets what the other folds know, so that it does not see its own price; a
    row that is to be judged (fold -1) gets what all folds know.

    Args:
        name: int64 [n], the name's number.
        paid: float64 [n].
        fold: int64 [n].
    """
    mean, rows = np.empty(len(name)), np.empty(len(name))
    size = int(name.max()) + 1
    for one in (*range(FOLDS), -1):
        told = (fold >= 0) & (fold != one)
        asked = fold == one
        sums = np.bincount(name[told], paid[told], size)[name[asked]]
        rows[asked] = np.bincount(name[told], minlength=size)[name[asked]]
        middle = paid[told].mean() if told.any() else 0.0
        mean[asked] = (sums + SHRINK * middle) / (rows[asked] + SHRINK)
    return mean, rows


def _first(masked: str) -> float:
    try:
        return float(ipaddress.ip_address(masked.replace("*", "0")).packed[0])
    except ValueError:
        return -1.0


def surplus(bids: Floats, examples: Examples) -> Floats:
    """float64 [n]: what each bid earns."""
    won = bids >= examples.y
    return np.where(won, examples.value - bids, 0.0)
