"""What can go wrong with a GPU, in sentences."""

from gateway.engines.contract import DeviceLost, EngineError


class Unavailable(EngineError):  # noqa: N818 - read as a sentence
    """TensorRT cannot be used here: no driver, no GPU, no library. The message says which."""


OUT_OF_MEMORY = 2
NO_DEVICE = 100

# Results of the driver after which a context answers nothing else: the device is lost to this
# process until it is started again. Numbers are those of cuda.h.
STICKY = {
    46: "the device is not available",
    214: "uncorrectable memory error (ECC)",
    220: "NVLink error",
    700: "illegal memory access",
    702: "a kernel ran too long",
    709: "the context was destroyed",
    710: "assertion in a kernel",
    714: "hardware stack error",
    715: "illegal instruction",
    716: "misaligned address",
    717: "invalid address space",
    718: "invalid program counter",
    719: "a kernel failed to run",
    802: "the system is not ready",
    999: "unknown error",
}


def of_status(status: int, what: str, told: str = "") -> EngineError:
    """The contract's error for a result of the driver that is not 0; `told` is its own text."""
    if status in STICKY:
        return DeviceLost(f"the GPU is lost: {STICKY[status]} (CUDA error {status}) at {what}")
    if status == OUT_OF_MEMORY:
        return EngineError(
            f"the GPU is out of memory at {what}: fewer lanes, a smaller max_batch or another GPU "
            "would help"
        )
    return EngineError(f"CUDA error {status} at {what}{': ' + told if told else ''}")
