"""The reader of the decision log, on files that the test writes in the documented form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.drift.decision_log import read
from trainer.errors import InputError

pa = pytest.importorskip("pyarrow", reason="the trainer extra is not installed")


def write(path: Path, columns: dict[str, list[object]]) -> None:
    table = pa.table(columns)
    with pa.ipc.new_file(path, table.schema) as out:
        out.write_table(table)


def decisions(ids: list[str], at: int) -> dict[str, list[object]]:
    n = len(ids)
    return {
        "request_id": list(ids),
        "time_ns": [at + i for i in range(n)],
        "model": ["fraud"] * n,
        "digest": ["sha256:" + "0" * 64] * n,
        "latency_us": [80.0] * n,
        "input:features": [[float(i), 1.0] for i in range(n)],
        "output:score": [[i / 10] for i in range(n)],
    }


def test_outcomes_that_come_later_are_joined_and_the_last_word_counts(tmp_path: Path) -> None:
    write(tmp_path / "decisions-2.arrow", decisions(["c", "d"], 200))
    write(tmp_path / "decisions-1.arrow", decisions(["a", "b"], 100))
    write(
        tmp_path / "feedback-1.arrow",
        {"request_id": ["b", "d", "b"], "time_ns": [1, 2, 3], "label": [0.0, 1.0, 1.0]},
    )
    found = read(tmp_path, "fraud")
    assert found.ids == ("a", "b", "c", "d")
    assert found.x.tolist() == [[0, 1], [1, 1], [0, 1], [1, 1]]
    assert np.array_equal(found.labels, [np.nan, 1, np.nan, 1], equal_nan=True)
    known = found.labelled(("f", "g"))
    assert (known.ids, known.y.tolist()) == (("b", "d"), [1, 1])
    with pytest.raises(InputError, match="2 features a request, not 1"):
        found.labelled(("f",))


def test_another_models_requests_are_left_out_and_texts_are_read(tmp_path: Path) -> None:
    rows = decisions(["a", "b"], 1)
    rows["model"] = ["fraud", "other"]
    rows["input:text"] = ["hello", "world"]
    del rows["input:features"]
    write(tmp_path / "decisions-1.arrow", rows)
    found = read(tmp_path, "fraud", source="text")
    assert (found.ids, found.texts) == (("a",), ("hello",))


def test_inputs_that_the_policy_kept_out_are_no_error(tmp_path: Path) -> None:
    rows = decisions(["a"], 1)
    del rows["input:features"]
    write(tmp_path / "decisions-1.arrow", rows)
    found = read(tmp_path, "fraud")
    assert found.x.shape == (1, 0)
    assert found.scores.tolist() == [0.0]


def test_a_file_that_is_still_written_waits(tmp_path: Path) -> None:
    write(tmp_path / "decisions-1.arrow", decisions(["a"], 1))
    whole = (tmp_path / "decisions-1.arrow").read_bytes()
    (tmp_path / "decisions-2.arrow").write_bytes(whole[: len(whole) // 2])
    found = read(tmp_path, "fraud")
    assert (found.ids, found.unread) == (("a",), 1)


def test_a_column_that_is_missing_is_named(tmp_path: Path) -> None:
    rows = decisions(["a"], 1)
    del rows["latency_us"]
    write(tmp_path / "decisions-1.arrow", rows)
    with pytest.raises(InputError, match="has no column 'latency_us'"):
        read(tmp_path, "fraud")
    with pytest.raises(InputError, match="has no decisions-"):
        read(tmp_path / "nowhere", "fraud")


def test_each_row_of_a_request_has_its_own_outcome(tmp_path: Path) -> None:
    rows = decisions(["a", "a", "b"], 1) | {"row": [0, 1, 0]}
    write(tmp_path / "decisions-1.arrow", rows)
    outcomes: dict[str, list[object]] = {"request_id": ["a", "b"], "time_ns": [1, 2]}
    write(tmp_path / "feedback-1.arrow", outcomes | {"row": [1, 0], "label": [1.0, 0.0]})
    found = read(tmp_path, "fraud")
    assert found.ids == ("a", "a/1", "b")
    assert np.array_equal(found.labels, [np.nan, 1, 0], equal_nan=True)


def test_a_file_of_another_model_may_have_other_columns(tmp_path: Path) -> None:
    write(tmp_path / "decisions-1.arrow", decisions(["a"], 1))
    table = pa.table({"request_id": ["b"]}).replace_schema_metadata({"sluicegate.model": "bids"})
    with pa.ipc.new_file(tmp_path / "decisions-2.arrow", table.schema) as out:
        out.write_table(table)
    assert read(tmp_path, "fraud").ids == ("a",)
