"""Builder and parser of the double of `tensorrt`: a plan is the graph and its profiles."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from tensorrt.graphs import Tensor, fails, session_of
from tensorrt.names import (
    BuilderFlag,
    ILogger,
    IProgressMonitor,
    MemoryPoolType,
    Shape,
    __version__,
)


class Network:
    graph = b""

    def _read(self) -> None:
        session, _ = session_of(self.graph)
        self._inputs = [Tensor(value) for value in session.get_inputs()]
        self._outputs = [Tensor(value) for value in session.get_outputs()]

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> Tensor:
        return self._inputs[index]

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> Tensor:
        return self._outputs[index]


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, name: str, least: Shape, best: Shape, most: Shape) -> None:
        self.shapes[name] = [list(least), list(best), list(most)]


class TimingCache:
    def __init__(self, held: bytes) -> None:
        self._held = held

    def serialize(self) -> bytes:
        return self._held


class Config:
    builder_optimization_level = 3
    max_aux_streams = 0
    progress_monitor: IProgressMonitor | None = None

    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.flags: set[BuilderFlag] = set()
        self._timing = TimingCache(b"")

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None: ...

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def create_timing_cache(self, held: bytes) -> TimingCache:
        return TimingCache(held or b"timed")

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self._timing = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        return self._timing


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def create_network(self, flags: int = 0) -> Network:
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        monitor = config.progress_monitor
        if monitor:
            monitor.phase_start("Building", None, 2)
        time.sleep(float(os.environ.get("TENSORRT_DOUBLE_BUILD_SECONDS", "0")))
        if monitor:
            monitor.step_complete("Building", 0)
            monitor.phase_finish("Building")
        if fails("build"):
            self._logger.log(ILogger.Severity.ERROR, "no tactic for node 'z0'")
            return None
        head = {
            "version": __version__,
            "refit": BuilderFlag.REFIT in config.flags,
            "profiles": [profile.shapes for profile in config.profiles],
        }
        return json.dumps(head).encode() + b"\0" + network.graph


class ParserError:
    def desc(self) -> str:
        return "this is not an ONNX graph"

    def node_operator(self) -> str:
        return ""

    def node_name(self) -> str:
        return "graph"


class OnnxParser:
    def __init__(self, network: Network, logger: ILogger) -> None:
        self._network, self.num_errors = network, 0

    def parse(self, graph: bytes) -> bool:
        self._network.graph = bytes(graph)
        try:
            self._network._read()
        except Exception:
            self.num_errors = 1
            return False
        return True

    def parse_from_file(self, path: str) -> bool:
        import onnx

        try:
            # With the weights in files beside it.
            return self.parse(onnx.load(path).SerializeToString())
        except Exception:
            return self.parse(Path(path).read_bytes())

    def get_error(self, index: int) -> ParserError:
        return ParserError()
