"""A small table with a planted weakness, its specialist.toml, and a trainer's key."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance.signer import FileSigner
from trainer.spec.read import read_spec
from trainer.spec.spec import Spec

ROWS = 1500
SPEC = """
name = "demo"
[data]
path = "data.csv"
label = "label"
id = "id"
drop = ["region"]
slices = ["region"]
core_share = 0.25
held_out_share = 0.25
consent_basis = "made up"
[evaluate]
regressions_allowed = 40
resamples = 100
[[evaluate.gates]]
metric = "auc"
limit = {limit}
[specialise]
methods = ["boosting"]
trials = 2
folds = 2
nice = 0
[specialise.parameters]
iterations = 40
[stop]
rounds = 3
seconds = 300.0
[propose]
owner = "owner"
validator = "validator"
intended_use = "a test"
"""


def write_table(path: Path, rows: int = ROWS, seed: int = 3) -> None:
    """Six features; in the region `s` the sign of one of them is turned."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6))
    region = random.integers(0, 3, rows)
    z = 1.2 * x[:, 0] + x[:, 1] * x[:, 2] + np.where(region == 1, -1.5, 0.3) * x[:, 3]
    y = (z + random.normal(0, 0.6, rows) > 0.4).astype(int)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", *(f"f{i}" for i in range(6)), "region", "label"])
        for i in range(rows):
            out.writerow([f"c{i}", *(f"{v:.5f}" for v in x[i]), "nsw"[region[i]], y[i]])


def write_spec(folder: Path, limit: float = 0.7, **replaced: str) -> Path:
    """specialist.toml and its table; `replaced` swaps lines by what they begin with."""
    if not (folder / "data.csv").exists():
        write_table(folder / "data.csv")
    text = SPEC.format(limit=limit)
    for begins, line in replaced.items():
        old = next(one for one in text.splitlines() if one.startswith(f"{begins} ="))
        text = text.replace(old, line)
    path = folder / "specialist.toml"
    path.write_text(text)
    return path


def spec_of(folder: Path, limit: float = 0.7, **replaced: str) -> Spec:
    """The same, read."""
    return read_spec(write_spec(folder, limit, **replaced))


def signer() -> FileSigner:
    """A trainer's key."""
    return FileSigner(Ed25519PrivateKey.generate())
