"""A decoder's adapter: what was learnt, and the base model that it goes on, by digest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer import archive, codec
from trainer.errors import InputError
from trainer.examples import Examples, Floats
from trainer.notes import decoder, judge
from trainer.notes.sections import critical, headers, sections_of
from trainer.notes.settings import Fit
from trainer.specialise.bases import digest_of

# As peft names them.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class About:
    """What an adapter goes on, and how it is asked.

    Attributes:
        base: the base model's digest.
        headers: that can be named.
        critical: those of them that must not be missed.
        max_tokens, text_tokens: of a dialogue and of a text.
        device, dtype: on what it was fitted, and is asked.
    """

    base: str
    headers: tuple[str, ...]
    critical: tuple[str, ...]
    max_tokens: int
    text_tokens: int
    device: str
    dtype: str


@dataclass(frozen=True)
class Adapter:
    """An adapter with the folder of its base model.

    Attributes:
        about: what it goes on.
        files: in peft's form, by name; none for the base model as it is.
        base: the base model's folder.
    """

    about: About
    files: Mapping[str, bytes]
    base: str
    _loaded: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Of what was learnt and what it goes on; the folder is no part of it."""
        return codec.digest(archive.pack(self.held()))

    def held(self) -> Mapping[str, npt.NDArray[Any]]:
        """What was learnt and what it goes on."""
        files = {f"file:{name}": np.frombuffer(data, np.uint8) for name, data in self.files.items()}
        return {"adapter": np.frombuffer(codec.to_json(self.about).encode(), np.uint8), **files}

    @classmethod
    def of(cls, held: Mapping[str, npt.NDArray[Any]], base: str) -> Adapter:
        """What `held` told, on the base model in a folder."""
        about = codec.from_json(About, held["adapter"].tobytes().decode())
        files = {
            name.removeprefix("file:"): part.tobytes()
            for name, part in held.items()
            if name.startswith("file:")
        }
        return cls(about, files, base)

    def scores(self, examples: Examples, threads: int = 1) -> Floats:
        """float64 [n, 5], see `Answer`. What a whole suite was asked is not asked again.

        A case alone is asked anew each time: so flaky ones are found.

        Raises:
            InputError: the base model is another one than it was fitted on.
        """
        del threads
        if len(examples) == 1:
            return self._ask(examples)
        name = examples.digest
        if name not in self._loaded:
            self._loaded[name] = self._ask(examples)
        found: Floats = self._loaded[name]
        return found

    def _ask(self, examples: Examples) -> Floats:
        a = self.about
        return judge.answers(
            self._model(), self._words(), sections_of(examples), a.headers, a.critical, a.device
        )

    def _words(self) -> decoder.Words:
        a = self.about
        return decoder.Words(self.base, a.max_tokens, a.text_tokens)

    def _model(self) -> Any:
        if "model" not in self._loaded:
            if (found := digest_of(self.base)) != self.about.base:
                raise InputError(
                    f"The adapter goes on the base model {self.about.base[:19]}…, but {self.base} "
                    f"is {found[:19]}…."
                )
            whole = decoder.load(self.base, self.about.device, self.about.dtype)
            self._loaded["model"] = adapt(whole, self.files) if self.files else whole
        return self._loaded["model"]


def files_of(model: Any, base: str) -> dict[str, bytes]:
    """An adapted model's adapter in peft's form; `base` is what it calls the base model."""
    with tempfile.TemporaryDirectory(prefix="sluicegate-adapter-") as name:
        model.save_pretrained(name)
        told = json.loads(Path(name, CONFIG).read_text())
        weights = Path(name, WEIGHTS).read_bytes()
    # A set there, in whatever order.
    told |= {"target_modules": sorted(told["target_modules"]), "base_model_name_or_path": base}
    return {CONFIG: json.dumps(told, indent=1, sort_keys=True).encode(), WEIGHTS: weights}


def adapt(base: Any, files: Mapping[str, bytes]) -> Any:
    """A loaded base model with an adapter from its files.

    Raises:
        InputError: they are none, or not of such a model.
    """
    from peft import PeftModel  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="sluicegate-adapter-") as name:
        for file, data in files.items():
            Path(name, file).write_bytes(data)
        try:
            return PeftModel.from_pretrained(base, name).eval()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"The adapter does not go on its base model: {error}") from error


def about(train: Examples, base: str, how: Fit) -> About:
    """What is fitted so on these cases."""
    return About(
        base=digest_of(base),
        headers=headers(sections_of(train)),
        critical=critical(train),
        max_tokens=how.max_tokens,
        text_tokens=how.text_tokens,
        device=how.device,
        dtype=how.dtype,
    )


def untrained(train: Examples, base: str, how: Fit) -> Adapter:
    """The base model as it is, to name the headers of these cases."""
    return Adapter(about(train, base, how), {}, base)
