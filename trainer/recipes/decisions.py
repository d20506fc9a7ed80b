"""Cases from the gateway's decision log: logged requests whose outcome has come.

`data.path` is the log's folder, the model is the spec's own. With `data.latest` only so many of the
newest labelled requests count: after a shift, those that came since. Equal requests stay on one
side of the split (`split = "group"`); `split = "time"` holds the newest out.
"""

from __future__ import annotations

import numpy as np

from trainer.drift.decision_log import read
from trainer.errors import InputError
from trainer.recipes.blocks import Blocks, one_by_one
from trainer.recipes.sources import Loaded
from trainer.spec.spec import Spec


def load(spec: Spec, blocks: Blocks = one_by_one) -> Loaded:
    """The labelled requests.

    Raises:
        InputError: no log, no outcome yet, or no input was kept.
    """
    data = spec.data
    log = read(spec.path(data.path), spec.name, source=data.text or "features", blocks=blocks)
    if not log.texts and not log.x.shape[1]:
        raise InputError(f"The log {data.path} keeps no inputs of {spec.name}: nothing to learn.")
    names = tuple(f"feature {i}" for i in range(log.x.shape[1]))
    examples = log.labelled(names)
    if data.latest:
        rows = np.arange(max(len(examples) - data.latest, 0), len(examples))
        examples = examples.take(rows)
    if not len(examples):
        raise InputError(f"The log {data.path} has no outcome of {spec.name} yet.")
    groups = tuple(key.hex() for key in examples.input_keys())
    order = np.arange(len(examples), dtype=np.float64)
    by_time = data.split == "time"
    return Loaded(examples, order=order if by_time else None, groups=None if by_time else groups)
