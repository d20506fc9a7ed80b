"""What an operator says about GPUs (unsigned) and what a model says (signed with it).

The operator's is table `[engines.tensorrt]` of sluicegate.toml; programs that open lanes without a
server find that file by SLUICEGATE_ENGINES. A model's file is `engine.toml` in its directory,
listed in its manifest.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from gateway.engines.contract import EngineError

VARIABLE = "SLUICEGATE_ENGINES"
MODEL_FILE = "engine.toml"
FORMAT = "sluicegate.engine/1"

FLAVOURS = ("auto", "tensorrt", "tensorrt_rtx")
WAITS = ("block", "spin")
BUILDS = ("allowed", "never")
TABLE = "[engines.tensorrt]"


def default_cache() -> Path:
    """Where plans are kept if nobody says."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home, "sluicegate", "engines")


@dataclass(frozen=True)
class Settings:
    """The operator's settings.

    Attributes:
        flavour: which library; `auto` takes `tensorrt`, else `tensorrt_rtx`.
        devices: ordinals of GPUs; lanes take them in turns.
        wait: `block` sleeps until a batch is done, `spin` burns a core for a shorter wait.
        cuda_graphs: whether a batch is one launch of a captured graph.
        cache: the folder of plans.
        build: whether this server may build plans that the cache lacks.
        cpu: whether ONNX Runtime on the CPU may answer for models that allow it.
        build_seconds: a build that takes longer is ended.
        workspace_mib: memory that a builder's tactics may use.
        optimization_level: 0 to 5, the builder's (`tensorrt` alone).
        rows, lengths: rows and tokens of the batches that are bound at load; empty for powers of
            two, and for 16, 32, 64, … tokens.

    """

    flavour: Literal["auto", "tensorrt", "tensorrt_rtx"] = "auto"
    devices: tuple[int, ...] = (0,)
    wait: Literal["block", "spin"] = "block"
    cuda_graphs: bool = True
    cache: Path = field(default_factory=default_cache)
    build: Literal["allowed", "never"] = "allowed"
    cpu: Literal["allowed", "never"] = "allowed"
    build_seconds: int = 3600
    workspace_mib: int = 1024
    optimization_level: int = 3
    rows: tuple[int, ...] = ()
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Tolerance:
    """Outputs may differ from ONNX Runtime's by `absolute` + `relative` times the value."""

    absolute: float = 1e-3
    relative: float = 1e-2


@dataclass(frozen=True)
class ShippedPlan:
    """A plan that lies in the model directory, built ahead of time."""

    file: str
    flavour: str
    version: str
    compute_capability: str


@dataclass(frozen=True)
class ModelSays:
    """A model's `engine.toml`.

    Attributes:
        cpu: ONNX Runtime on the CPU may answer in TensorRT's place while a plan is being built and
            where there is no GPU.
        tolerance: how far outputs may be from ONNX Runtime's, looked at when the model is loaded.
        tf32: matrices of 32-bit floats may be multiplied with fewer digits.
        adapter: a file (.npz) with values of graph inputs that callers do not send; models of one
            base graph share its engine.
        refit: a file (.npz) with values of initializers; the base graph's plan gets them in place
            of a new build.
        plans: plans in the model directory.
        reference: another graph (.onnx) of the same tensors, for ONNX Runtime on the CPU where
            it cannot run the one that is served, as with bf16 and fp8.

    """

    cpu: bool = False
    tolerance: Tolerance = Tolerance()
    tf32: bool = False
    adapter: str | None = None
    refit: str | None = None
    plans: tuple[ShippedPlan, ...] = ()
    reference: str | None = None


_CHOICES = (("flavour", FLAVOURS), ("wait", WAITS), ("build", BUILDS), ("cpu", BUILDS))

Told = TypeVar("Told", Settings, ModelSays, Tolerance, ShippedPlan)


def _made(kind: type[Told], said: Any, where: str) -> Told:
    if not isinstance(said, dict):
        raise EngineError(f"{where} must be a table")
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(said) - known):
        near = get_close_matches(unknown[0], known, 1)
        more = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(sorted(known))}"
        raise EngineError(f"{where}: unknown key '{unknown[0]}'; {more}")
    try:
        return kind(**said)
    except TypeError as error:
        raise EngineError(f"{where}: {error}") from error


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise EngineError(f"{where}: {error}") from error


def _want(where: str, fine: bool, expected: str) -> None:
    if not fine:
        raise EngineError(f"{where} must be {expected}")


def _numbers(value: Any, least: int) -> bool:
    return isinstance(value, list | tuple) and all(type(n) is int and n >= least for n in value)


def settings_of(options: Mapping[str, Any], where: str = TABLE) -> Settings:
    """The operator's settings from their table.

    Raises:
        EngineError: an unknown key, or a value out of range.

    """
    table = dict(options)
    for key in ("devices", "rows", "lengths"):
        if key in table:
            _want(f"{where}: {key}", _numbers(table[key], int(key != "devices")), "whole numbers")
            table[key] = tuple(table[key])
    if "cache" in table:
        _want(f"{where}: cache", isinstance(table["cache"], str), "a folder's path")
        table["cache"] = Path(table["cache"]).expanduser()
    made = _made(Settings, table, where)
    for key, choices in _CHOICES:
        _want(f"{where}: {key}", getattr(made, key) in choices, f"one of {', '.join(choices)}")
    _want(f"{where}: cuda_graphs", isinstance(made.cuda_graphs, bool), "true or false")
    for key, least, most in (
        ("build_seconds", 1, 1_000_000),
        ("workspace_mib", 1, 1_000_000),
        ("optimization_level", 0, 5),
    ):
        value = getattr(made, key)
        fine = type(value) is int and least <= value <= most
        _want(f"{where}: {key}", fine, f"a whole number from {least} to {most}")
    _want(f"{where}: devices", bool(made.devices), "at least one GPU's number")
    return made


def check_options(options: Mapping[str, Any]) -> None:
    """Raise EngineError for an operator's table that cannot be used."""
    settings_of(options)


def settings_in(path: Path) -> Settings:
    """The operator's settings from a sluicegate.toml; its other tables are the server's.

    Raises:
        EngineError: the file cannot be read or used.

    """
    try:
        said = _parsed(path.read_text(), str(path))
    except OSError as error:
        raise EngineError(f"{path}: {error.strerror}") from error
    engines = said.get("engines", {})
    table = engines.get("tensorrt", {}) if isinstance(engines, dict) else engines
    _want(f"{path}: {TABLE}", isinstance(table, dict), "a table")
    return settings_of(table, f"{path}: {TABLE}")


def settings() -> Settings:
    """The settings of a program without a server: those of the file that SLUICEGATE_ENGINES names.

    Raises:
        EngineError: the file cannot be read or used.

    """
    path = os.environ.get(VARIABLE)
    return settings_in(Path(path)) if path else Settings()


def model_says(files: Mapping[str, bytes]) -> ModelSays:
    """What a model says about its engine.

    Raises:
        EngineError: its file cannot be used.

    """
    if MODEL_FILE not in files:
        return ModelSays()
    said = _parsed(files[MODEL_FILE].decode(errors="replace"), MODEL_FILE)
    _want(f"{MODEL_FILE}: format", said.pop("format", None) == FORMAT, f"'{FORMAT}'")
    if "tolerance" in said:
        said["tolerance"] = _made(Tolerance, said["tolerance"], f"{MODEL_FILE}: tolerance")
        for name in ("absolute", "relative"):
            value = getattr(said["tolerance"], name)
            fine = isinstance(value, int | float) and 0 <= value < float("inf")
            _want(f"{MODEL_FILE}: tolerance.{name}", fine, "a number, 0 or more")
    plans = said.get("plans", [])
    _want(f"{MODEL_FILE}: plans", isinstance(plans, list), "a list of tables")
    said["plans"] = tuple(_made(ShippedPlan, p, f"{MODEL_FILE}: plans") for p in plans)
    made = _made(ModelSays, said, MODEL_FILE)
    for key in ("cpu", "tf32"):
        _want(f"{MODEL_FILE}: {key}", isinstance(getattr(made, key), bool), "true or false")
    named = [(key, getattr(made, key)) for key in ("adapter", "refit", "reference")]
    named += [("plans", plan.file) for plan in made.plans]
    for key, file in named:
        _want(f"{MODEL_FILE}: {key}", file is None or file in files, "a file of the model")
    return made
