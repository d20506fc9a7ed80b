"""Answers that were paid for, kept by what they follow from."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer import codec
from trainer.errors import InputError, TrainError
from trainer.teacher.ask import Asked, Endpoint


class Answers:
    """JSON lines, each under the digest of all it follows from: a call is not made twice.

    Raises:
        InputError: the file cannot be read or written.
    """

    def __init__(self, path: Path, endpoint: Endpoint, model: str, most: int) -> None:
        self.calls = 0
        self._endpoint, self._model, self._most, self._path = endpoint, model, most, path
        self._known: dict[str, Asked] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = path.read_text("utf-8").splitlines() if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}.") from error
        for line in lines:
            try:
                told = json.loads(line)
                self._known[told["key"]] = Asked(told["label"], told["said"], told["seconds"])
            except (ValueError, KeyError, TypeError):
                # A kill left half a line: that call is made again.
                continue

    def of(self, text: str) -> Asked:
        """The teacher's label of a text.

        Raises:
            TrainError: the budget of calls is used up.
            InputError: the teacher gives none, or it cannot be kept.
        """
        key = codec.digest("teacher/1", self._model, self._endpoint.prompt, text)
        return self._once(key, lambda: self._endpoint.ask(text))

    def invented(self, label: int, like: Sequence[str], number: int) -> str:
        """The teacher's text of a class; `number` tells one from others like the same.

        Raises:
            TrainError, InputError: as `of`.
        """
        prompt = self._endpoint.invention(label)
        key = codec.digest("teacher/invention/1", self._model, prompt, number, *like)
        return self._once(key, lambda: Asked(None, self._endpoint.invent(label, like), 0.0)).said

    def _once(self, key: str, ask: Callable[[], Asked]) -> Asked:
        if key in self._known:
            return self._known[key]
        if self.calls >= self._most:
            raise TrainError(
                f"teacher.calls is {self._most}: so many were made now. Run again to go on."
            )
        asked = ask()
        self.calls += 1
        told = {"key": key, "label": asked.label, "said": asked.said, "seconds": asked.seconds}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror}.") from error
        self._known[key] = asked
        return asked


def beside(out: Path) -> Path:
    """Where the answers for a table are kept."""
    return out.with_name(out.name + ".answers.jsonl")
