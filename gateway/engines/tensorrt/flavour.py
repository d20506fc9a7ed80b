"""The two libraries, on the names that both have.

`tensorrt` 10.3 to 11 and `tensorrt_rtx` 1.7 differ in what is in this file and nowhere else.
Every call that builds, reads or makes something may give None without an exception.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

from gateway.engines.contract import EngineError
from gateway.engines.tensorrt.errors import Unavailable

T = TypeVar("T")

MODULES = {
    "tensorrt": ("tensorrt",),
    # The second is there where only the parts of the package were installed.
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
EXTRA = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
LEAST = {"tensorrt": (10, 3), "tensorrt_rtx": (1, 7)}

DATATYPES = {
    "FLOAT": "FP32",
    "HALF": "FP16",
    "BF16": "BF16",
    "INT8": "INT8",
    "UINT8": "UINT8",
    "INT32": "INT32",
    "INT64": "INT64",
    "BOOL": "BOOL",
}


class Flavour:
    """One of the two libraries, imported."""

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.trt = name, module
        self.version: str = module.__version__
        numbers = self.version.split(".")[:2]
        if tuple(int(n) for n in numbers if n.isdigit()) < LEAST[name]:
            least = ".".join(map(str, LEAST[name]))
            raise Unavailable(f"{name} {self.version} is too old: {least} or later is needed")
        self.errors: list[str] = []
        self.logger = _logger(module, self.errors)

    @property
    def is_rtx(self) -> bool:
        """Whether kernels are compiled on the user's machine."""
        return self.name == "tensorrt_rtx"

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Forget earlier errors, so that those of this block are its own."""
        self.errors.clear()
        yield

    def made(self, result: T | None, what: str) -> T:
        """The result, unless it is None or False.

        Raises:
            EngineError: it is; with what the library said.

        """
        if result is None or result is False:
            said = "; ".join(self.errors[-3:]) or "it gave no reason"
            raise EngineError(f"{self.name} {self.version} {what}: {said}")
        return result

    def datatype(self, kind: Any) -> str:
        """The Open Inference name of a tensor's type."""
        return DATATYPES.get(kind.name, str(kind.name))

    def network_flags(self) -> int:
        """Strongly typed: the graph says the precision of everything. 11 knows nothing else."""
        return 1 << int(self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def target(self, capability: str) -> Any:
        """The builder's target for a compute capability, as in `8.9`.

        Raises:
            EngineError: this flavour has none, or builds for the GPU at hand alone.

        """
        if not self.is_rtx:
            raise EngineError(
                "tensorrt builds for the GPU of the machine it runs on; plans for other GPUs are "
                "built by tensorrt_rtx"
            )
        known = {n: v for n, v in vars(self.trt.ComputeCapability).items() if n.startswith("SM")}
        known = known or {
            n: getattr(self.trt.ComputeCapability, n)
            for n in dir(self.trt.ComputeCapability)
            if n.startswith("SM")
        }
        name = "SM" + capability.replace(".", "")
        if name not in known:
            can = ", ".join(sorted(f"{n[2:-1]}.{n[-1]}" for n in known))
            raise EngineError(
                f"tensorrt_rtx {self.version} does not build for compute capability {capability}; "
                f"it builds for {can}"
            )
        return known[name]

    def refuse_invalid(self, runtime: Any, plan: bytes, what: str) -> None:
        """Ask the library whether a plan fits this GPU, where it can be asked.

        Raises:
            EngineError: it does not.

        """
        if not hasattr(runtime, "get_engine_validity"):
            return
        validity, why = runtime.get_engine_validity(plan)
        if validity == self.trt.EngineValidity.INVALID:
            raise EngineError(f"{self.name} {self.version} does not run {what} on this GPU ({why})")

    def contexts(self, engine: Any, kernels: bytes | None) -> "Contexts":
        """What makes an engine's contexts; `kernels` are those that were compiled another time."""
        return Contexts(self, engine, kernels)


class Contexts:
    """Makes an engine's execution contexts, which use memory that is given to them.

    With tensorrt_rtx they share the kernels that are compiled for their shapes on this machine.
    """

    def __init__(self, library: Flavour, engine: Any, kernels: bytes | None) -> None:
        self._library, self._engine = library, engine
        self._how = library.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._compiled: Any = None
        if not library.is_rtx:
            return
        with library.telling():
            how = library.made(engine.create_runtime_config(), "made no runtime configuration")
            how.set_execution_context_allocation_strategy(self._how)
            # Kernels for a bucket's shape are made when it is bound, not beside the first requests.
            eager = library.trt.DynamicShapesKernelSpecializationStrategy.EAGER
            how.dynamic_shapes_kernel_specialization_strategy = eager
            # The whole batch is captured by the lane, copies included.
            how.cuda_graph_strategy = library.trt.CudaGraphStrategy.DISABLED
            self._compiled = library.made(how.create_runtime_cache(), "made no cache of kernels")
            if kernels:
                # What does not fit is compiled anew.
                self._compiled.deserialize(kernels)
            how.set_runtime_cache(self._compiled)
            self._how = how

    def make(self) -> Any:
        """A context.

        Raises:
            EngineError: the library made none.

        """
        with self._library.telling():
            made = self._engine.create_execution_context(self._how)
            return self._library.made(made, "made no execution context")

    def kernels(self) -> bytes:
        """What was compiled until now; nothing with a flavour that compiles nothing."""
        return bytes(self._compiled.serialize() or b"") if self._compiled is not None else b""


def _logger(module: Any, errors: list[str]) -> Any:
    """One logger a process: a second one is ignored by the library. It keeps errors alone."""

    class Keeping(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(module.ILogger.Severity.ERROR):
                errors.append(msg.strip().rstrip("."))
                del errors[:-20]

    return Keeping()


@cache
def _load(name: str) -> Flavour:
    reasons = []
    for module in MODULES[name]:
        try:
            return Flavour(name, import_module(module))
        except (ImportError, OSError, RuntimeError) as error:
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    raise Unavailable(
        f"{name} is not installed (pip install 'sluicegate[{EXTRA[name]}]'): {reasons[0]}"
    )


def flavour(name: str) -> Flavour:
    """The library of this name; `auto` is `tensorrt` where it can be imported.

    Raises:
        Unavailable: it cannot be imported, or is too old.

    """
    if name != "auto":
        return _load(name)
    reasons = []
    for each in MODULES:
        try:
            return _load(each)
        except Unavailable as error:
            reasons.append(str(error))
    raise Unavailable("; ".join(reasons))
