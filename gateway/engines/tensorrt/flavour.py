"""The two libraries, on the names that both have.

`tensorrt` 10.3 to 11 and `tensorrt_rtx` 1.7 differ in what is in this file and nowhere else.
Every call that builds, reads or makes something may give None without an exception.
"""

from collections.abc import Callable, Iterator
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

    def context(self, engine: Any, kernels: bytes | None) -> tuple[Any, Callable[[], bytes]]:
        """An execution context that uses memory given to it; and what to ask for its kernels.

        `kernels` are those that tensorrt_rtx compiled another time; the other flavour has none.
        """
        managed = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self.telling():
            if not self.is_rtx:
                made = engine.create_execution_context(managed)
                return self.made(made, "made no execution context"), lambda: b""
            how = self.made(engine.create_runtime_config(), "made no runtime configuration")
            how.set_execution_context_allocation_strategy(managed)
            # Kernels for a bucket's shape are made at warm-up and not beside the first requests.
            eager = self.trt.DynamicShapesKernelSpecializationStrategy.EAGER
            how.dynamic_shapes_kernel_specialization_strategy = eager
            # The whole batch is captured here, copies included.
            how.cuda_graph_strategy = self.trt.CudaGraphStrategy.DISABLED
            compiled = self.made(how.create_runtime_cache(), "made no cache of kernels")
            if kernels:
                compiled.deserialize(kernels)
            how.set_runtime_cache(compiled)
            made = self.made(engine.create_execution_context(how), "made no execution context")
            return made, lambda: bytes(compiled.serialize() or b"")


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
