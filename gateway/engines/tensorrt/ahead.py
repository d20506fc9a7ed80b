"""Plans built ahead of time: for the GPU at hand, or for named ones on a machine without any."""

import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.engines.contract import Bucket, EngineError
from gateway.engines.directory import Verified
from gateway.engines.tensorrt.building import Say, build
from gateway.engines.tensorrt.cache import Cache, key_of
from gateway.engines.tensorrt.driver import device
from gateway.engines.tensorrt.flavour import flavour
from gateway.engines.tensorrt.ladder import ladder
from gateway.engines.tensorrt.plans import Graph, Recipe, recipe
from gateway.engines.tensorrt.settings import MODEL_FILE, Settings, model_says


@dataclass(frozen=True)
class Built:
    """A plan: its recipe, its key in the cache, its bytes, and whether it was built just now."""

    recipe: Recipe
    key: str
    plan: bytes
    seconds: float
    new: bool


def targets(settings: Settings, capabilities: list[str]) -> Iterator[tuple[str, str, str, str]]:
    """For each GPU: flavour, version, compute capability, driver.

    Without named ones it is the GPUs of this machine; named ones are for tensorrt_rtx alone.

    Raises:
        Unavailable: no library, or no GPU.
        EngineError: the flavour does not build for a named one.

    """
    if not capabilities:
        library = flavour(settings.flavour)
        gpus = {(g.capability, g.driver) for g in map(device, settings.devices)}
        for capability, driver in sorted(gpus):
            yield library.name, library.version, capability, driver
        return
    named = "tensorrt_rtx" if settings.flavour == "auto" else settings.flavour
    library = flavour(named)
    for capability in capabilities:
        library.target(capability)
    for capability in capabilities:
        yield library.name, library.version, capability, ""


def build_ahead(
    verified: Verified,
    max_batch: int,
    settings: Settings,
    capabilities: list[str],
    say: Say,
) -> list[Built]:
    """Build a model's plans, or find them in the cache.

    Raises:
        EngineError: one cannot be built.

    """
    model, says = verified.model, model_says(verified.model.files)
    if model.graph is None:
        raise EngineError("the model has no graph")
    largest = Bucket(max_batch if verified.is_batched else 1, verified.max_length)
    rungs = ladder(model.inputs, largest, settings.rows, settings.lengths)
    graph = Graph.of(model.files, model.graph)
    cache, made = Cache(settings.cache), []
    for name, version, capability, driver in targets(settings, capabilities):
        wanted = recipe(model, graph, rungs, says, settings, name, version, capability, driver)
        about = wanted.about()
        started, held = time.monotonic(), cache.get("plan", about)
        plan = held
        if plan is None:
            plan = build(cache, wanted, graph, settings.build_seconds, say)
        seconds = time.monotonic() - started
        made.append(Built(wanted, key_of(about), plan, seconds, held is None))
    return made


def shipped(verified: Verified, built: list[Built]) -> dict[str, bytes]:
    """The files of a model directory that brings its plans along.

    Raises:
        EngineError: its engine.toml has plans already.

    """
    files = dict(verified.model.files)
    text = files.get(MODEL_FILE, b'format = "sluicegate.engine/1"\n').decode()
    if model_says(files).plans:
        raise EngineError(f"{MODEL_FILE} names plans already")
    for each in built:
        wanted = each.recipe
        name = f"{wanted.flavour}-{wanted.compute_capability}.plan"
        files[name] = each.plan
        text += (
            f'\n[[plans]]\nfile = "{name}"\nflavour = "{wanted.flavour}"\n'
            f'version = "{wanted.version}"\ncompute_capability = "{wanted.compute_capability}"\n'
        )
    files[MODEL_FILE] = text.encode()
    return files


def max_batches(config: Path | None) -> dict[str, int]:
    """`max_batch` of each model that a sluicegate.toml names.

    Raises:
        EngineError: it cannot be read.

    """
    if config is None:
        return {}
    try:
        told = tomllib.loads(config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise EngineError(f"{config}: {error}") from error
    models = told.get("model", {})
    return {name: each["max_batch"] for name, each in models.items() if "max_batch" in each}
