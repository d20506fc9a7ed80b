"""Credit risk: default of card holders within a month (UCI, 30,000 rows, 2005).

The table's own columns are amounts and states of six months. What a lender reads off them is made
here: how much of the limit is used, what part of a bill was paid, how states and bills move.
Gender, age and marriage are protected: they are in the fairness report and in no feature.
"""

from __future__ import annotations

import numpy as np

from trainer.examples import Floats, of_rows
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import Columns, labels, numbers, read_columns
from trainer.spec.spec import Spec

LABEL = "default.payment.next.month"
PROTECTED = ("GENDER", "MARRIAGE", "AGE_BAND")
STATES = ("PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6")
MONTHS = range(1, 7)


def load(spec: Spec) -> Loaded:
    """The 30,000 rows with their features. Raises InputError."""
    columns = read_columns(spec.path(spec.data.path))
    names, x = made(columns)
    return Loaded(
        of_rows(
            x,
            labels(columns[LABEL], "1", LABEL),
            names,
            ids=[f"row-{value}" for value in columns["ID"]],
            slices={
                "GENDER": columns["GENDER"],
                "MARRIAGE": columns["MARRIAGE"],
                "AGE_BAND": [_band(int(age)) for age in columns["AGE"]],
                "EDUCATION": columns["EDUCATION"],
                "LATE_NOW": ["late" if int(v) > 0 else "on time" for v in columns["PAY_0"]],
            },
        ),
        protected=PROTECTED,
    )


def made(columns: Columns) -> tuple[tuple[str, ...], Floats]:
    """Features' names and values, float64 [n, f]."""
    limit = numbers("LIMIT_BAL", columns["LIMIT_BAL"])
    states = np.stack([numbers(c, columns[c]) for c in STATES], axis=1)
    bills = np.stack([numbers("BILL", columns[f"BILL_AMT{m}"]) for m in MONTHS], axis=1)
    paid = np.stack([numbers("PAY", columns[f"PAY_AMT{m}"]) for m in MONTHS], axis=1)
    used = bills / limit[:, None]
    late = np.maximum(states, 0)
    # What was paid in month m is for the bill of the month before it.
    share = paid[:, :5] / np.maximum(np.abs(bills[:, 1:]), 1.0)
    found: dict[str, Floats] = {"LIMIT_BAL": limit}
    # The code says which school; its order says little, but a tree can cut it.
    found["EDUCATION"] = numbers("EDUCATION", columns["EDUCATION"])
    found |= {name: states[:, i] for i, name in enumerate(STATES)}
    found |= {f"BILL_AMT{m}": bills[:, m - 1] for m in MONTHS}
    found |= {f"PAY_AMT{m}": paid[:, m - 1] for m in MONTHS}
    found |= {f"USED{m}": used[:, m - 1] for m in MONTHS}
    found |= {f"PAID_SHARE{m}": np.minimum(share[:, m - 1], 5.0) for m in range(1, 6)}
    found |= {
        "WORST_STATE": states.max(axis=1),
        "LATE_SUM": late.sum(axis=1),
        "LATE_MONTHS": (states > 0).sum(axis=1),
        "IDLE_MONTHS": (states == -2).sum(axis=1),
        "FULL_MONTHS": (states == -1).sum(axis=1),
        "LATE_LATELY": late[:, :2].sum(axis=1) - late[:, 2:4].sum(axis=1),
        "USED_MEAN": used.mean(axis=1),
        "USED_MAX": used.max(axis=1),
        "USED_TREND": used[:, :3].mean(axis=1) - used[:, 3:].mean(axis=1),
        "BILL_SPREAD": bills.std(axis=1) / limit,
        "PAID_MEAN": paid.mean(axis=1) / limit,
        "PAID_LEAST": paid.min(axis=1),
        "PAID_SUM": paid.sum(axis=1),
        "UNPAID_MONTHS": (paid == 0).sum(axis=1),
        "LEFT_OVER": (limit - bills[:, 0]),
        "PAID_ALL_SHARE": paid.sum(axis=1) / np.maximum(bills.clip(min=0).sum(axis=1), 1.0),
    }
    found["PAID_ALL_SHARE"] = np.minimum(found["PAID_ALL_SHARE"], 5.0)
    return tuple(found), np.stack(list(found.values()), axis=1)


def _band(age: int) -> str:
    return "under 30" if age < 30 else "30 to 44" if age < 45 else "45 and over"
