"""TensorRT on NVIDIA GPUs, through pycuda: engine `tensorrt`.

Two flavours behind one backend: `tensorrt` (10.3 and later) for data-centre GPUs, `tensorrt_rtx`
for consumer ones. Nothing of CUDA is imported until a model asks for this engine.
"""

from gateway.engines.tensorrt.opening import open_lane
from gateway.engines.tensorrt.settings import check_options

__all__ = ["check_options", "open_lane"]
