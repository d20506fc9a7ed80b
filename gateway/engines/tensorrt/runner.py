"""Runs a lane's batches on a GPU: a context and a CUDA graph for each rung, all bound at load."""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from gateway.engines.contract import Bucket, EngineError, Model
from gateway.engines.tensorrt.driver import (
    BLOCKING_SYNC,
    DISABLE_TIMING,
    NON_BLOCKING_STREAM,
    Device,
)
from gateway.engines.tensorrt.engine import Engine, Weights
from gateway.engines.tensorrt.graph import capture
from gateway.engines.tensorrt.host import HostArrays
from gateway.engines.tensorrt.ladder import Ladder, profile_index
from gateway.engines.tensorrt.memory import Memory

Launch = Callable[[], None]


class DeviceRunner:
    """One lane's stream, device memory, contexts and graphs.

    A batch is: copy in, run, copy out, as one graph; then an event, and a wait for it. Where a
    rung cannot be captured the same is queued call by call.
    """

    def __init__(
        self,
        engine: Engine,
        model: Model,
        host: HostArrays,
        extra: Weights,
        wait: str,
        graphs: bool,
        kernels: bytes | None = None,
        plan_ladder: Ladder | None = None,
    ) -> None:
        # The rungs that the plan's profiles were made for.
        self._plan_ladder = plan_ladder or host.ladder
        self._engine, self._model, self._host = engine, model, host
        self._device: Device = engine.device
        self._memory = Memory(self._device)
        self._graphs: list[ctypes.c_void_p] = []
        self._contexts: list[Any] = []
        self._event = ctypes.c_void_p()
        self._stream: Any = None
        self._launches: dict[Bucket, Launch] = {}
        self.captured = 0
        try:
            self._open(extra, wait, graphs, kernels)
        except BaseException:
            self.close()
            raise

    def _open(self, extra: Weights, wait: str, graphs: bool, kernels: bytes | None) -> None:
        device, host = self._device, self._host
        addresses = {
            tensor.name: self._memory.on_device(block.nbytes)
            for tensors, blocks in (
                (self._model.inputs, host.inputs),
                (self._model.outputs, host.outputs),
            )
            for tensor, block in zip(tensors, blocks, strict=True)
        }
        for name, value in extra.items():
            addresses[name] = self._memory.on_device(value.nbytes)
            self._memory.put(addresses[name], value)
        # Rungs of a lane never run at once: they share one block.
        activations = self._memory.on_device(self._engine.activation_bytes)
        flags = DISABLE_TIMING | (BLOCKING_SYNC if wait == "block" else 0)
        with device.current():
            self._stream = device.cuda.Stream(NON_BLOCKING_STREAM)
            made = device.calls.cuEventCreate(ctypes.byref(self._event), flags)
            device.check(made, "making an event")
            self._making = self._engine.flavour.contexts(self._engine.trt, kernels)
        for rung in host.ladder.rungs:
            context = self._context(rung, addresses, extra, activations)
            self._launches[rung] = self._bind(rung, context, addresses, graphs)

    def _context(
        self,
        rung: Bucket,
        addresses: Mapping[str, int],
        extra: Weights,
        activations: int,
    ) -> Any:
        engine, flavour = self._engine, self._engine.flavour
        with self._device.current():
            context = self._making.make()
            self._contexts.append(context)
            context.set_device_memory(activations, engine.activation_bytes)
            if engine.trt.num_optimization_profiles > 1:
                profile = profile_index(self._plan_ladder, rung.rows)
                chosen = context.set_optimization_profile_async(profile, self._stream.handle)
                flavour.made(chosen, f"refused the profile of {rung}")
                self._synchronize()
            for tensor in self._model.inputs:
                shape = tensor.batch_shape(rung)
                fits = context.set_input_shape(tensor.name, shape)
                flavour.made(fits, f"refused shape {list(shape)} of '{tensor.name}'")
            for name, value in extra.items():
                fits = context.set_input_shape(name, value.shape)
                flavour.made(fits, f"refused shape {list(value.shape)} of '{name}'")
            if lacking := list(context.infer_shapes()):
                raise EngineError(f"the engine cannot tell its shapes without '{lacking[0]}'")
            for name, address in addresses.items():
                fits = context.set_tensor_address(name, address)
                flavour.made(fits, f"refused the address of '{name}'")
            for tensor in self._model.outputs:
                shape = tuple(context.get_tensor_shape(tensor.name))
                if shape != tensor.batch_shape(rung):
                    raise EngineError(
                        f"output '{tensor.name}' has shape {list(shape)} for {rung}, the contract "
                        f"says {list(tensor.batch_shape(rung))}"
                    )
        return context

    def _bind(
        self, rung: Bucket, context: Any, addresses: Mapping[str, int], graphs: bool
    ) -> Launch:
        device, calls, stream = self._device, self._device.calls, self._stream.handle
        ins, outs = self._copies(rung, addresses)

        def queue() -> None:
            for at, where, size in ins:
                device.check(calls.cuMemcpyHtoDAsync_v2(at, where, size, stream), "copying in")
            if not context.execute_async_v3(stream):
                self._refused()
            for at, where, size in outs:
                device.check(calls.cuMemcpyDtoHAsync_v2(where, at, size, stream), "copying out")

        with device.current():
            # The first run decides what is left to decide, and may not be captured. It leaves the
            # host's arrays alone: the lane may be answering with them already.
            if not context.execute_async_v3(stream):
                self._refused()
            self._synchronize()
            made = capture(device, stream, queue) if graphs else None
        if made is None:
            return queue
        self._graphs.append(made)
        self.captured += 1
        launch_graph, check = calls.cuGraphLaunch, device.check

        def launch() -> None:
            if status := launch_graph(made, stream):
                check(status, "launching a batch")

        return launch

    def _copies(
        self, rung: Bucket, addresses: Mapping[str, int]
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
        """For inputs and outputs: device address, host address, bytes of the rung."""
        made: tuple[list[tuple[int, int, int]], ...] = ([], [])
        sides = (self._model.inputs, self._host.inputs), (self._model.outputs, self._host.outputs)
        for side, (tensors, blocks) in zip(made, sides, strict=True):
            for tensor, block in zip(tensors, blocks, strict=True):
                size = tensor.dtype.itemsize
                for dimension in tensor.batch_shape(rung):
                    size *= dimension
                side.append((addresses[tensor.name], block.ctypes.data, size))
        return made[0], made[1]

    def _refused(self) -> None:
        """Raise for a launch that the library refused: a lost device, or its own reasons."""
        status = self._device.calls.cuStreamSynchronize(self._stream.handle)
        self._device.check(status, "running a batch")
        self._engine.flavour.made(None, "did not run a batch")

    def kernels(self) -> bytes:
        """What was compiled for this lane's shapes, to be given to the next one."""
        return self._making.kernels()

    def _synchronize(self) -> None:
        done = self._device.calls.cuStreamSynchronize(self._stream.handle)
        self._device.check(done, "waiting for the GPU")

    def run(self, rung: Bucket) -> None:
        """Run a rung whose inputs lie in the host's blocks, and wait for its outputs.

        Works on any thread: the data plane runs batches on lanes' threads and on its own.

        Raises:
            DeviceLost: the device is gone.
            EngineError: this batch failed.

        """
        device, calls = self._device, self._device.calls
        if status := calls.cuCtxSetCurrent(device.context_handle):
            device.check(status, "making the context current")
        self._launches[rung]()
        event = self._event
        status = calls.cuEventRecord(event, self._stream.handle)
        # Python's lock is given away here, and only here.
        if status := status or calls.cuEventSynchronize(event):
            device.check(status, "waiting for a batch")

    def close(self) -> None:
        """Free what it holds. May be called twice."""
        graphs, self._graphs = self._graphs, []
        self._launches.clear()
        if self._device.lost:
            self._contexts.clear()
            return
        with self._device.current():
            for graph in graphs:
                self._device.calls.cuGraphExecDestroy(graph)
            self._contexts.clear()
            if self._event:
                self._device.calls.cuEventDestroy_v2(self._event)
                self._event = ctypes.c_void_p()
            self._stream = None
        self._memory.close()
