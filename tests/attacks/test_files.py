"""Attacks on the files of a model between its verification and its load: the load verifies anew."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import models
from gateway import _native

GRAPH = "model.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return models.pack_perceptron(tmp_path / "models", "m").path


def other(folder: Path) -> Path:
    """Another genuine model's graph, on the same disk."""
    made = models.pack_perceptron(folder.parents[1] / "others", "m").path / GRAPH
    data = bytearray(made.read_bytes())
    data[-1] ^= 1
    made.write_bytes(data)
    return made


def added(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")


def hidden(folder: Path) -> None:
    (folder / ".gitignore").write_text("*")


def renamed(folder: Path) -> None:
    (folder / GRAPH).rename(folder / "model.pickle")


def exchanged(folder: Path) -> None:
    """The same bytes under each other's names: what a digest over contents alone would not see."""
    one, two, aside = folder / GRAPH, folder / "contract.toml", folder.parent / "aside"
    one.rename(aside)
    two.rename(one)
    aside.rename(two)


def linked(folder: Path) -> None:
    aside = folder.parent / "aside"
    (folder / GRAPH).rename(aside)
    (folder / GRAPH).symlink_to(aside)


def hard_linked(folder: Path) -> None:
    swap = folder.parent / "swap"
    os.link(other(folder), swap)
    swap.replace(folder / GRAPH)


def written_through(folder: Path) -> None:
    """By a second name for the same file, which was there when it was verified."""
    (folder.parent / "second-name").write_bytes(other(folder).read_bytes())


def a_pipe(folder: Path) -> None:
    (folder / GRAPH).unlink()
    os.mkfifo(folder / GRAPH)


ATTACKS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file added": (added, "'model.pkl' is not listed"),
    "a hidden file added": (hidden, "'.gitignore' is not listed"),
    "renamed to another loader's": (renamed, "'model.pickle' is not listed"),
    "two files' names exchanged": (exchanged, "at most 204 allowed"),
    "a symbolic link": (linked, "symbolic link"),
    "a hard link to another file": (hard_linked, "the file was changed"),
    "written through a second name": (written_through, "the file was changed"),
    "a pipe": (a_pipe, GRAPH),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_was_verified_and_then_changed_is_not_loaded(folder: Path, attack: str) -> None:
    act, sentence = ATTACKS[attack]
    os.link(folder / GRAPH, folder.parent / "second-name")
    _native.verify(folder)
    act(folder)
    with pytest.raises(ValueError, match=r"model|contract|listed") as refused:
        _native.verify(folder, True)
    assert sentence in str(refused.value)
