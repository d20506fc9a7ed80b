"""A process that builds plans and reckons references: `python -m gateway.engines.tensorrt.worker`.

It reads one job on standard input, a line of JSON, and writes JSON lines: `{"stage", "done", "of"}`
while it goes on, at last `{"made": {...}}` or `{"error": SENTENCE}`. Results go to the file that
the job names. A builder takes minutes and gigabytes, and may die: so it is not the serving process.
"""

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any, TextIO

from gateway.engines.contract import EngineError
from gateway.engines.tensorrt.flavour import Flavour, flavour
from gateway.engines.tensorrt.lowering import is_installed, lower
from gateway.engines.tensorrt.reference import write_reference


class Progress:
    """Tells how a build goes on, at most ten times a second."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._last = out, 0.0

    def tell(self, told: dict[str, Any]) -> None:
        """Write a line at once."""
        self._out.write(json.dumps(told) + "\n")
        self._out.flush()

    def stage(self, name: str, done: int = 0, of: int = 0) -> None:
        """Write how far a stage is, unless one was told of a moment ago."""
        now = time.monotonic()
        if done == 0 or now - self._last > 0.1:
            self._last = now
            self.tell({"stage": name, "done": done, "of": of})


def _monitor(library: Flavour, progress: Progress) -> Any:
    class Monitor(library.trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            library.trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self._steps[name] = steps
            if parent is None:
                progress.stage(name, 0, steps)

        def phase_finish(self, name: str) -> None:
            self._steps.pop(name, None)

        def step_complete(self, name: str, step: int) -> bool:
            progress.stage(name, step + 1, self._steps.get(name, 0))
            return True

    return Monitor()


def build(job: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Build a plan as the job says, into its file; what was made, in figures.

    Raises:
        EngineError: the library refuses the graph, the profiles or the target.

    """
    library = flavour(job["flavour"])
    trt, started = library.trt, time.monotonic()
    if library.version != job["version"]:
        raise EngineError(f"{library.name} is {library.version}, the job is for {job['version']}")
    progress.stage("reading the graph")
    _lower(Path(job["graph"]), job["outputs"])
    with library.telling():
        builder = library.made(trt.Builder(library.logger), "made no builder")
        network = library.made(builder.create_network(library.network_flags()), "made no network")
        parser = trt.OnnxParser(network, library.logger)
        # By its path: weights in files beside it are looked for there.
        if not parser.parse_from_file(job["graph"]):
            raise EngineError(f"{library.name} refused the graph: {_complaints(parser)}")
        config = _config(library, builder, network, job)
        timing = Path(job["timing"])
        config.progress_monitor = _monitor(library, progress)
        if not library.is_rtx:
            held = timing.read_bytes() if timing.is_file() else b""
            cache = library.made(config.create_timing_cache(held), "made no timing cache")
            library.made(config.set_timing_cache(cache, False), "refused the timing cache")
        plan = library.made(
            builder.build_serialized_network(network, config), "could not build a plan"
        )
    if not library.is_rtx:
        timing.write_bytes(bytes(config.get_timing_cache().serialize()))
    data = bytes(plan)
    Path(job["out"]).write_bytes(data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "seconds": time.monotonic() - started}


def _lower(graph: Path, outputs: list[str]) -> None:
    """Write the graph out in operators that the parser knows, in place, where it has others."""
    if not is_installed():
        return
    lowered = lower(graph.read_bytes(), outputs)
    if lowered is not None:
        graph.write_bytes(lowered)


def _complaints(parser: Any) -> str:
    """The parser's errors, the first of each operator: they repeat for each node."""
    told: dict[str, str] = {}
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        told.setdefault(error.node_operator(), f"{error.node_name()}: {error.desc()}")
    said = [f"{operator or 'the file'} ({text})" for operator, text in told.items()]
    text = "; ".join(said[:4]) or "it gave no reason"
    if not is_installed():
        text += "; with onnx (pip install onnx) trees and whole numbers would be written out first"
    return text


def _config(library: Flavour, builder: Any, network: Any, job: dict[str, Any]) -> Any:
    trt = library.trt
    config = library.made(builder.create_builder_config(), "made no builder configuration")
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job["workspace_mib"] << 20)
    if not library.is_rtx:
        config.builder_optimization_level = job["optimization_level"]
        # Lanes run beside each other; streams of an engine's own would only get in their way.
        config.max_aux_streams = 0
    (config.set_flag if job["tf32"] else config.clear_flag)(trt.BuilderFlag.TF32)
    if job["refit"]:
        config.set_flag(trt.BuilderFlag.REFIT)
    if library.is_rtx:
        # What a graph is captured of must not allocate.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
        config.num_compute_capabilities = 1
        target = library.target(job["compute_capability"])
        library.made(config.set_compute_capability(target, 0), "refused the target")
    _refuse_unknown_sizes(network, job["profiles"])
    for shapes in job["profiles"]:
        profile = library.made(builder.create_optimization_profile(), "made no profile")
        for name, (least, best, most) in shapes.items():
            profile.set_shape(name, tuple(least), tuple(best), tuple(most))
        if config.add_optimization_profile(profile) < 0:
            raise EngineError(f"{library.name} refused the profile {shapes}")
    return config


def _refuse_unknown_sizes(network: Any, shapes: list[dict[str, Any]]) -> None:
    """Raise for inputs with variable sizes that no profile knows."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if -1 in tuple(tensor.shape) and not (shapes and tensor.name in shapes[0]):
            raise EngineError(
                f"the graph's input '{tensor.name}' has a variable size that the contract lacks"
            )


def _end_with_the_parent() -> None:
    """A build is for whoever asked: if its pipe closes, nobody waits any more."""
    while os.read(0, 64):
        continue
    os._exit(1)


def main() -> None:
    """Do the job on standard input."""
    job = json.loads(sys.stdin.readline())
    Thread(target=_end_with_the_parent, daemon=True).start()
    # Libraries print; the lines of standard output are ours.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    progress = Progress(out)
    if job.get("nice"):
        os.nice(19)
    try:
        do = {"build": build, "reference": write_reference}[job["do"]]
        made = do(job, progress)
    except (EngineError, OSError, MemoryError) as error:
        progress.tell({"error": str(error) or type(error).__name__})
        os._exit(1)
    progress.tell({"made": made})
    # At once: a thread still reads standard input, and the libraries have nothing to tidy up.
    os._exit(0)


if __name__ == "__main__":
    main()
