"""Products of whole numbers and rows of tables of them, in float32.

What a graph rounds is rounded here too. Sums of products of int8 by uint8 are exact in float32 up
to 2^24 and right to seven digits beyond, so the numbers stay the source's. What
`DynamicQuantizeLinear` would round is left as it is: its one scale is the whole batch's, and rows
would depend on their neighbours.
"""

import numpy as np

from gateway.engines.tensorrt.lowering.writing import Array, Writer

LIMITS = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-128, 127)}


def quantize(w: Writer) -> None:
    """QuantizeLinear for such a product: rounded and held within its type, as float32.

    One constant scale for all, or blocks as long as a row: each row has a scale of its own then.
    """
    x, scale = w.node.input[:2]
    zero = w.scalar(w.node.input[2]) if len(w.node.input) > 2 else np.zeros((), np.uint8)
    if zero is None or zero.dtype not in LIMITS:
        raise w.refuse("has a zero point that is not one constant of 8 bits")
    held = w.constant(scale)
    if not w.attribute("block_size", 0) and (held is None or held.size != 1):
        raise w.refuse("has scales that are neither one constant nor one a row")
    low, high = LIMITS[zero.dtype]
    steps = w.add("Round", [w.add("Div", [x, scale])])
    if zero:
        steps = w.add("Add", [steps, w.hold(zero)])
    w.add("Clip", [steps, w.hold(low), w.hold(high)], w.node.output[0])


def dynamic_quantize(w: Writer) -> None:
    """DynamicQuantizeLinear: the values themselves, with scale 1 and zero point 0."""
    values = (w.node.input[0], w.hold(1.0), w.hold(0.0))
    for value, output in zip(values, w.node.output, strict=True):
        w.add("Identity", [value], output)


def product(w: Writer) -> None:
    """MatMulInteger of what was quantised above and of constant weights."""
    a, b = w.node.input[:2]
    zeros = [*w.node.input[2:], "", ""][:2]
    weights = w.constant(b)
    if weights is None:
        raise w.refuse("multiplies by whole numbers that are not constant")
    if (block := w.block_of(a)) and block != weights.shape[-2]:
        raise w.refuse(f"takes blocks of {block} in rows of {weights.shape[-2]}")
    w.add("MatMul", [_centred(w, a, zeros[0]), _weights(w, weights, zeros[1])], w.node.output[0])


def lookup(w: Writer) -> None:
    """Gather of a table of 8 bits, which TensorRT takes for quantised values: the same in float32.

    What follows is a Cast, which then has nothing to do.
    """
    table = w.constant(w.node.input[0])
    if table is None:
        raise w.refuse("looks up in a table that is not constant")
    inputs = [w.hold(table), w.node.input[1]]
    w.add("Gather", inputs, w.node.output[0], axis=w.attribute("axis", 0))


def _centred(w: Writer, a: str, zero: str) -> str:
    if not zero:
        return a
    value = w.constant(zero)
    if value is None:
        # DynamicQuantizeLinear's, which is a float now.
        return w.add("Sub", [a, zero])
    return w.add("Sub", [a, w.hold(value)]) if value.any() else a


def _weights(w: Writer, weights: Array, zero: str) -> str:
    whole = weights.astype(np.float32)
    if zero:
        value = w.constant(zero)
        if value is None:
            raise w.refuse("has a zero point of its weights that is not constant")
        whole = whole - value.astype(np.float32)
    return w.hold(whole)
