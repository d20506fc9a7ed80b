"""Scenarios: what to measure and how, from bench/scenarios/*.toml."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

FOLDER = Path(__file__).with_name("scenarios")
KINDS = (
    "compare",
    "packed",
    "added",
    "overload",
    "footprint",
    "generator",
    "runtimes",
    "peers",
    "precision",
    "shadow",
    "swap",
    "promotion",
    "storm",
    "telemetry",
    "decision_log",
    "encoder_share",
    "train",
    "neighbour",
    "gpu_host_cost",
    "gpu_soak",
)


class ScenarioError(ValueError):
    """A scenario file that cannot be used; the message names file and key."""


@dataclass(frozen=True)
class Scenario:
    """One scenario; which keys a kind uses is said in its own function in bench/measure.py."""

    name: str
    kind: str
    title: str
    repeats: int = 3
    duration_s: float = 5.0
    connections: int = 4
    rows: int = 1
    in_flight: int | None = None
    load_fraction: float = 0.3
    per_row_us: int = 0
    deadlines_us: tuple[int, ...] = ()
    loads: tuple[float, ...] = ()
    target: float | None = None
    targets: tuple[float, ...] = ()
    server_cores: str = "0"
    generator_core: int | None = 1
    io_threads: int = 1
    model: str = "delay"
    swaps: int = 0
    share: float = 1.0
    cancel_share: float = 0.0
    batches: int = 0
    training_core: int = 1
    generator_nice: int = 0


def read(path: Path) -> Scenario:
    """Read one scenario.

    Raises:
        ScenarioError: not TOML, an unknown key or kind, or a key that is missing.

    """
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path}: {error}") from error
    known = {f.name for f in fields(Scenario)} - {"name"}
    if unknown := set(told) - known:
        raise ScenarioError(f"{path}: unknown key {', '.join(sorted(unknown))}")
    if told.get("kind") not in KINDS:
        raise ScenarioError(f"{path}: kind must be one of {', '.join(KINDS)}")
    if "generator_core" in told and told["generator_core"] < 0:
        told["generator_core"] = None
    lists = {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
    try:
        return Scenario(name=path.stem, **(told | lists))
    except TypeError as error:
        raise ScenarioError(f"{path}: {error}") from error


def all_scenarios() -> list[Scenario]:
    """Every scenario of bench/scenarios, by name."""
    return [read(path) for path in sorted(FOLDER.glob("*.toml"))]
