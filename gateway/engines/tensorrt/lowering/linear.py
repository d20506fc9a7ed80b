"""What stands around and beside trees in `ai.onnx.ml`: linear models, scaling, normalising."""

import numpy as np

from gateway.engines.tensorrt.lowering.writing import Writer, transformed


def scaler(w: Writer) -> None:
    """(x - offset) · scale."""
    x = w.node.input[0]
    if offset := w.attribute("offset", []):
        x = w.add("Sub", [x, w.hold(offset)])
    w.add("Mul", [x, w.hold(w.attribute("scale", [1.0]))], w.node.output[0])


def normalizer(w: Writer) -> None:
    """Rows divided by their sum of magnitudes (L1) or by their length (L2); zeros stay."""
    x, how = w.node.input[0], w.attribute("norm", "MAX")
    last = w.hold([-1], np.int64)
    if how == "L1":
        size = w.add("ReduceSum", [w.add("Abs", [x]), last], keepdims=1)
    elif how == "L2":
        squares = w.add("ReduceSum", [w.add("Mul", [x, x]), last], keepdims=1)
        size = w.add("Sqrt", [squares])
    else:
        raise w.refuse(f"divides by {how}, which is not written out")
    is_zero = w.add("Equal", [size, w.hold(0.0)])
    w.add("Div", [x, w.add("Where", [is_zero, w.hold(1.0), size])], w.node.output[0])


def regressor(w: Writer) -> None:
    """LinearRegressor: x · coefficients + intercepts."""
    targets = w.attribute("targets", 1)
    transformed(w, _product(w, targets), w.node.output[0])


def classifier(w: Writer) -> None:
    """LinearClassifier's scores: one column a class."""
    labels = w.attribute("classlabels_ints", []) or w.attribute("classlabels_strings", [])
    rows = len(w.attribute("intercepts", []))
    if rows != len(labels):
        raise w.refuse(f"has {rows} rows of coefficients for {len(labels)} classes")
    transformed(w, _product(w, rows), w.node.output[1])


def _product(w: Writer, columns: int) -> str:
    matrix = np.array(w.attribute("coefficients", []), np.float32).reshape(columns, -1)
    product = w.add("MatMul", [w.node.input[0], w.hold(matrix.T)])
    intercepts = w.attribute("intercepts", [])
    return w.add("Add", [product, w.hold(intercepts)]) if intercepts else product


def columns(w: Writer) -> None:
    """ArrayFeatureExtractor: columns by number."""
    w.add("Gather", list(w.node.input[:2]), w.node.output[0], axis=-1)
