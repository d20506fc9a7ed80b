"""Files read one by one give the same cases by Ray Data as here, and the same refusals."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from tests.trainer.tables import signer, spec_of, write_table
from trainer.cli.progress import folder_of, follow
from trainer.drift import decision_log
from trainer.errors import InputError
from trainer.loop import prepare
from trainer.loop.fit import on_ray
from trainer.recipes import decisions, tables
from trainer.recipes.blocks import by_ray_data, one_by_one
from trainer.spec.read import parse_spec
from trainer.spec.spec import Spec

FILES, ROWS = 7, 300


def cut(folder: Path) -> Spec:
    """The table of other tests, cut into five files, and its spec."""
    spec_of(folder)
    lines = (folder / "data.csv").read_text().splitlines()
    (folder / "parts").mkdir()
    for number in range(5):
        rows = [lines[0], *lines[1 + number * ROWS : 1 + (number + 1) * ROWS]]
        (folder / "parts" / f"part-{number}.csv").write_text("\n".join(rows) + "\n")
    path = folder / "specialist.toml"
    path.write_text(path.read_text().replace('path = "data.csv"', 'path = "parts"'))
    return parse_spec(path.read_text(), "it", folder)


def log(folder: Path) -> Spec:
    """A decision log of many files, one of another model, one not whole, with late outcomes."""
    random = np.random.default_rng(2)
    folder.mkdir(exist_ok=True)
    for number in range(FILES):
        ids = [f"r{number}-{i}" for i in range(50)]
        table = pa.table(
            {
                "request_id": ids,
                "time_ns": pa.array(1000 * number + np.arange(50)),
                "model": ["m" if i % 5 else "other" for i in range(50)],
                "digest": ["sha256:1"] * 50,
                "latency_us": random.random(50),
                "input:features": list(random.random((50, 3)).astype(np.float32)),
                "output:score": list(random.random((50, 1)).astype(np.float32)),
            }
        )
        labels = {"request_id": ids, "time_ns": pa.array(np.arange(50)), "label": random.random(50)}
        write(folder / f"decisions-{number}.arrow", table)
        write(folder / f"feedback-{number}.arrow", pa.table(labels))
    (folder / "decisions-9.arrow").write_bytes(b"ARROW1")
    text = 'name = "m"\n[data]\nsource = "decisions"\npath = "log"\n'
    return parse_spec(
        text + '[[evaluate.gates]]\nmetric = "auc"\nlimit = 0.5\n', "it", folder.parent
    )


def write(path: Path, table: Any) -> None:
    with ipc.new_file(path, table.schema) as out:
        out.write_table(table)


def test_a_folder_of_tables_is_the_table_that_it_was_cut_from(tmp_path: Path) -> None:
    whole, parts = tables.load(spec_of(tmp_path)), tables.load(cut(tmp_path))
    assert parts.examples.digest == whole.examples.digest


def test_a_slice_that_is_a_feature_too_stays_both(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, slices='slices = ["region", "f1"]')
    found = tables.load(spec).examples
    assert (
        found.slices["f1"][3] == (tmp_path / "data.csv").read_text().splitlines()[4].split(",")[2]
    )
    assert found.x[:, 1] == pytest.approx([float(v) for v in found.slices["f1"]])


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("f1", "g1", "part-3.csv has other columns than .*part-0.csv"),
        ("label", "answer", "part-3.csv has no column 'label', but has id, f0"),
        ("c900,", "c900,nan,", "part-3.csv, row 2: 10 fields, but the header has 9"),
    ],
)
def test_a_table_that_is_not_like_the_others_is_named(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    spec = cut(tmp_path)
    path = tmp_path / "parts" / "part-3.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=sentence):
        tables.load(spec)


def test_a_folder_without_tables_is_told(tmp_path: Path) -> None:
    spec = cut(tmp_path)
    for path in (tmp_path / "parts").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(InputError, match=r"has no table: no file ends in \.csv, \.tsv"):
        tables.load(spec)


def not_finite(folder: Path, *numbers: int) -> None:
    """The third row's second feature in these files is no number any more."""
    for number in numbers:
        path = folder / "parts" / f"part-{number}.csv"
        with path.open(newline="") as file:
            rows = list(csv.reader(file))
        rows[3][2] = "nan"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)


@pytest.fixture
def ray_() -> Iterator[None]:
    """Ray on this machine, with room for two blocks at once."""
    with on_ray():
        yield


@pytest.mark.trainer
@pytest.mark.usefixtures("ray_")
def test_ray_data_reads_the_same_cases_and_names_the_same_row(tmp_path: Path) -> None:
    spec, logged = cut(tmp_path), log(tmp_path / "log")
    here, there = tables.load(spec, one_by_one), tables.load(spec, by_ray_data)
    assert there.examples.digest == here.examples.digest
    assert there.examples.to_bytes() == here.examples.to_bytes()
    of_log = [decisions.load(logged, one) for one in (one_by_one, by_ray_data)]
    assert len(of_log[0].examples) == FILES * 40
    assert of_log[0].examples.to_bytes() == of_log[1].examples.to_bytes()
    found = [decision_log.read(tmp_path / "log", "m", blocks=b) for b in (one_by_one, by_ray_data)]
    assert found[0].unread == found[1].unread == 1
    assert found[0].ids == found[1].ids
    # Of two files that are refused, the first is named, whichever was read first.
    not_finite(tmp_path, 1, 3)
    said = []
    for one in (one_by_one, by_ray_data):
        with pytest.raises(InputError, match=r"part-1\.csv: Column 'f1', row 4: 'nan'") as refused:
            tables.load(spec, one)
        said.append(str(refused.value))
    assert said[0] == said[1]


def slow_first(path: Path) -> Any:
    """The earlier a file, the longer it takes; the third one's first reader dies."""
    import time  # noqa: PLC0415 - read in another process

    number = int(path.stem)
    died = path.with_suffix(".died")
    if number == 2 and not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.4 if number % 2 == 0 else 0.0)
    return pa.table({"number": [number]})


@pytest.mark.trainer
@pytest.mark.usefixtures("ray_")
def test_blocks_keep_their_order_when_later_ones_are_done_first_and_a_reader_dies(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{number}.block" for number in (4, 1, 2, 3, 0, 5)]
    for path in paths:
        path.touch()
    found = [table.column("number").to_pylist() for table in by_ray_data(paths, slow_first)]
    assert found == [[4], [1], [2], [3], [0], [5]]
    assert (tmp_path / "2.died").exists()


@pytest.mark.trainer
def test_a_run_on_ray_reads_what_was_locked_without_it(tmp_path: Path) -> None:
    write_table(tmp_path / "data.csv")
    spec, key = cut(tmp_path), signer()
    prepare.lock(spec, folder_of(spec, None, tmp_path / "seals"), key)
    ended = follow(spec, key, None, tmp_path / "seals", ray=True)
    assert ended.outcome == "proposed", ended.reason
