"""A graph in the operators that TensorRT's parser knows, computing the same.

Some operators of ONNX have no place in TensorRT though what they compute has: trees and linear
models of the domain `ai.onnx.ml`, and products of whole numbers. Before a plan is built such nodes
are written out in others. What nobody asked for (labels as text, maps) is cut out. The model's own
file is not touched, and at load the plan's numbers are compared with that file's.
"""

from gateway.engines.tensorrt.lowering.passes import is_installed, lower

__all__ = ["is_installed", "lower"]
