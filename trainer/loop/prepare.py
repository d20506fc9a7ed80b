"""Before the loop: data checked, split, suites drawn, the held-out set sealed, thresholds locked.

`lock` draws the suites and signs the thresholds for them. A run draws them again and refuses if
they are others. Everything that can be wrong with the input is found here, before time is spent.
"""

from __future__ import annotations

import importlib.util
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from governance.signer import Signer
from trainer.cuda import cuda
from trainer.errors import InputError, LockError, SpecError
from trainer.evaluation import lock as locks
from trainer.evaluation import seal as seals
from trainer.evaluation import suite as suites
from trainer.evaluation.leaks import Leaks, scan
from trainer.evaluation.lock import Lock
from trainer.evaluation.metrics import looks, threshold_of
from trainer.evaluation.plain import plain
from trainer.evaluation.seal import Sealed
from trainer.evaluation.split import Parts, split, with_more, without_near
from trainer.evaluation.suite import Suite
from trainer.loop.store import Store
from trainer.loop.types import Prepared
from trainer.recipes import sources
from trainer.recipes.blocks import Blocks, one_by_one
from trainer.spec.spec import Spec
from trainer.specialise.bases import resolve
from trainer.specialise.methods import method, propose
from trainer.specialise.model import Fitted, Model, Scorer

# A run keeps models and scores of every trial; less than this is not worth a start.
LEAST_FREE_BYTES = 200 * 1024 * 1024
TORCH_PACKAGES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Folder:
    """Where a specialist's runs live.

    Attributes:
        root: the folder.
        seals: where the keys of held-out sets lie, elsewhere.
    """

    root: Path
    seals: Path

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.root / "ledger.db"

    @property
    def objects(self) -> Path:
        """The object store's folder."""
        return self.root / "objects"

    @property
    def lock(self) -> Path:
        """The locked thresholds."""
        return self.root / "thresholds.json"

    @property
    def core(self) -> Path:
        """The core suite."""
        return self.root / "suites" / "core.jsonl.gz"

    def sealed(self, version: int) -> Path:
        """The sealed held-out set."""
        return self.root / "sealed" / f"held_out-{version}"

    def key(self, spec: Spec) -> Path:
        """The key of the held-out set."""
        return self.seals / f"{spec.name}.key"


@dataclass(frozen=True)
class Drawn:
    """The data of a spec, in its parts, with the suites for a version."""

    parts: Parts
    core: Suite
    held_out: Suite
    leaks: Leaks
    plain: Fitted
    protected: tuple[str, ...]


def check_means(spec: Spec, folder: Path) -> str:
    """Refuse what a run could not end with; the base model's folder, "" for none.

    Raises:
        SpecError: a method does not fit the task or its packages are missing.
        InputError: no base model, no such device, no room on the disk.
    """
    for name in spec.specialise.methods:
        one = method(name)
        if one.task != spec.task:
            raise SpecError(f"The method {name!r} is not for the task {spec.task!r}.")
        if spec.specialise.workers > 1 and not one.torch:
            raise SpecError(
                f"specialise.workers is {spec.specialise.workers}, but {name!r} fits in one "
                "process; methods of texts with a base model can be fitted by several."
            )
        if one.torch:
            missing = [p for p in TORCH_PACKAGES if importlib.util.find_spec(p) is None]
            if missing:
                raise SpecError(
                    f"The method {name!r} needs {', '.join(missing)}: pip install "
                    "'sluicegate[trainer]'."
                )
    if spec.specialise.device == "cuda" and not cuda():
        raise InputError('specialise.device is "cuda", but no GPU is to be seen; use "cpu".')
    base = resolve(spec.specialise.base, Path(spec.folder))
    for one in (method(name) for name in spec.specialise.methods):
        if one.check is not None:
            fixed = propose(one, 0, spec.seed, spec.specialise.parameters)
            one.check(base, spec.specialise.device, fixed)
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < LEAST_FREE_BYTES:
        raise InputError(
            f"{folder} has {free // 2**20} MiB free, but a run needs {LEAST_FREE_BYTES // 2**20}."
        )
    return base


def draw(spec: Spec, version: int, blocks: Blocks = one_by_one) -> Drawn:
    """Load, split, fit the plain model, draw the suites, look for leaks; `blocks` reads files.

    Raises:
        SpecError, InputError: the data cannot be used.
    """
    loaded = sources.load(spec, blocks)
    examples = loaded.examples
    if bool(examples.texts) != all(method(m).texts for m in spec.specialise.methods):
        kind = "texts" if examples.texts else "rows of numbers"
        raise SpecError(
            f"The cases are {kind}, and a method of specialise.methods is not for them."
        )
    parts = with_more(split(loaded, spec), spec)
    if spec.data.duplicates == "drop_near" and parts.train.texts:
        parts = without_near(parts, spec)
    made = plain(parts.train, spec)
    found = []
    for name, part in (("core", parts.core), ("held_out", parts.held_out)):
        seen = looks(made.model.scores(part), spec)
        found.append(suites.draw(name, version, part, seen, spec.evaluate.suite_cases, spec.seed))
    words, share = spec.evaluate.leak_words, spec.evaluate.leak_share
    scans = [scan(parts.train, suite.examples, words=words, share=share) for suite in found]
    leaks = Leaks(
        sum(s.cases for s in scans),
        tuple(i for s in scans for i in s.exact),
        tuple(i for s in scans for i in s.runs),
    )
    return Drawn(parts, found[0], found[1], leaks, made, loaded.protected)


def lock(spec: Spec, folder: Folder, signer: Signer, version: int = 1) -> Drawn:
    """Draw the suites, seal the held-out set, sign the thresholds for them.

    Raises:
        TrainError: the data cannot be used, or nothing can be written.
    """
    check_means(spec, folder.root)
    drawn = draw(spec, version)
    sealed = seals.seal(drawn.held_out, folder.sealed(version), folder.key(spec))
    folder.core.parent.mkdir(parents=True, exist_ok=True)
    folder.core.write_bytes(suites.to_bytes(drawn.core))
    envelope = locks.make(spec, drawn.core.digest, sealed.digest, int(time.time()), signer)
    partial = folder.lock.with_suffix(".partial")
    partial.write_bytes(envelope.to_json())
    partial.replace(folder.lock)
    return drawn


def prepare(
    spec: Spec,
    folder: Folder,
    store: Store,
    locked: Lock,
    version: int,
    blocks: Blocks = one_by_one,
) -> Prepared:
    """What a run works with, checked against the lock; `blocks` reads files.

    Raises:
        LockError: the suites are others than those that were locked.
        TrainError: the data cannot be used.
    """
    drawn = draw(spec, version, blocks)
    for name, now, then in (
        ("core", drawn.core.digest, locked.core),
        ("held-out", drawn.held_out.digest, locked.held_out),
    ):
        if now != then:
            raise LockError(
                f"The {name} suite of this data is {now[:19]}…, but {then[:19]}… was locked: data, "
                "split or seed changed. Lock anew."
            )
    sealed = Sealed(
        str(folder.sealed(version)), drawn.held_out.digest, version, len(drawn.held_out.kinds)
    )
    reference: Scorer = drawn.plain.model
    name = "the plain model"
    threshold = threshold_of(drawn.plain.fold_scores, drawn.parts.train, spec)
    if spec.propose.incumbent:
        reference, threshold = incumbent(spec.path(spec.propose.incumbent), spec)
        name = "the incumbent"
    return Prepared(
        train=store.put(drawn.parts.train.to_bytes()),
        core=store.put(suites.to_bytes(drawn.core)),
        held_out=sealed,
        lock=locked.digest,
        dropped=drawn.parts.dropped,
        leaked=len(drawn.leaks.exact) + len(drawn.leaks.runs),
        plain=store.put_model(drawn.plain.model),
        plain_folds=store.put_array(drawn.plain.fold_scores),
        reference=store.put_model(reference),
        reference_name=name,
        reference_threshold=threshold,
        protected=drawn.protected,
    )


def incumbent(directory: Path, spec: Spec) -> tuple[Model, float]:
    """A packed model and its threshold.

    Raises:
        InputError: it is no model directory with a decision.
    """
    import tomllib  # noqa: PLC0415

    try:
        contract = tomllib.loads((directory / "contract.toml").read_text())
        graph = (directory / contract["graph"]).read_bytes()
        text = contract.get("text")
        model = Model(graph)
        if text:
            tokenizer = (directory / text["tokenizer"]).read_bytes()
            model = Model(graph, tokenizer, text["max_tokens"], text["max_bytes"])
        if spec.task == "shading":
            return model, float(-1)
        return model, float(contract["decision"]["threshold"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"The incumbent {directory} is no model directory with a decision ({error})."
        ) from error


def version_of(folder: Folder) -> int:
    """The newest version of the held-out set; 1 if there is none yet."""
    there = [
        int(p.name.partition("-")[2])
        for p in (folder.root / "sealed").glob("held_out-*")
        if p.name.partition("-")[2].isdigit()
    ]
    return max(there, default=1)


def rows(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Every row counts once."""
    return np.ones(count)
