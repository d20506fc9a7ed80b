"""Card fraud: transactions of two days of 2013 (ULB), of which a sample with all 492 frauds.

28.6% of the sample are frauds and 0.172% of the full set (492 of 284,807): precision is told at
that prevalence, see `trainer.evaluation.prevalence`.
"""

from __future__ import annotations

import numpy as np

from trainer.examples import of_rows
from trainer.recipes.sources import Loaded
from trainer.recipes.tables import labels, numbers, read_columns
from trainer.spec.spec import Spec

PREVALENCE = 492 / 284_807


def load(spec: Spec) -> Loaded:
    """The 1,722 rows. Raises InputError.

    The time of day is the only use of `Time`: which of the two days it was says nothing.
    """
    columns = read_columns(spec.path(spec.data.path))
    parts = {f"V{i}": numbers(f"V{i}", columns[f"V{i}"]) for i in range(1, 29)}
    amount = numbers("Amount", columns["Amount"])
    hour = (numbers("Time", columns["Time"]) / 3600) % 24
    parts |= {"AMOUNT": amount, "LOG_AMOUNT": np.log1p(amount), "HOUR": hour}
    bands = np.digitize(amount, [10, 100, 500])
    return Loaded(
        of_rows(
            np.stack(list(parts.values()), axis=1),
            labels(columns["Class"], "1", "Class"),
            tuple(parts),
            slices={
                "AMOUNT": [("under 10", "10 to 100", "100 to 500", "over 500")[b] for b in bands],
                "TIME": ["night" if h < 6 else "day" for h in hour],
            },
        )
    )
