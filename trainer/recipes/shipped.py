"""The recipes that come with Sluicegate: `NAME.toml` beside this file."""

from __future__ import annotations

from pathlib import Path

from trainer.errors import SpecError
from trainer.spec.read import parse_spec
from trainer.spec.spec import Spec

FOLDER = Path(__file__).parent


def recipes() -> tuple[str, ...]:
    """Their names."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def recipe_text(name: str) -> str:
    """A recipe's file.

    Raises:
        SpecError: there is none of that name.
    """
    if name not in recipes():
        raise SpecError(f"There is no recipe {name!r}, but {', '.join(recipes())}.")
    return (FOLDER / f"{name}.toml").read_text()


def recipe(name: str, data: Path) -> Spec:
    """A recipe whose data lies in a folder. Raises SpecError."""
    return parse_spec(recipe_text(name), name, data)
