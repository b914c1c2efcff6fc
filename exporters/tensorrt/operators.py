"""Check a graph, node by node, against what TensorRT's ONNX parser takes according to its documentation.

Source: docs/operators.md of onnx-tensorrt, the edition for TensorRT 10.15 (opset 9 to 24), the newest that could be
read; TensorRT 11's own guide says opset 9 to 25. Rules for Q/DQ: "Explicit Quantization" of the TensorRT 11
documentation: symmetric, zero points 0, int8; scales constant, one a tensor or one a channel. A network is strongly
typed: types come from the graph, and two floating-point inputs of one operator must not differ.
The check is made from a table: it finds what cannot work, and does not prove that the rest does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

OPSETS = range(9, 25)
_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
_NUMBERS = _FLOATS | {TensorProto.INT32, TensorProto.INT64}
_ANY = _NUMBERS | {TensorProto.BOOL}

OPERATORS: dict[str, frozenset[int]] = {
    **dict.fromkeys(
        ("Clip", "Conv", "Cos", "Erf", "Exp", "Gemm", "LayerNormalization", "MatMul", "Reciprocal", "Resize"), _FLOATS
    ),
    **dict.fromkeys(("Sigmoid", "Sin", "Softmax", "Sqrt", "Tanh"), _FLOATS),
    **dict.fromkeys(("Abs", "Add", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mod", "Mul", "Neg"), _NUMBERS),
    **dict.fromkeys(("Pad", "Pow", "ReduceMean", "ReduceSum", "ReduceL2", "Relu", "Sub", "DepthToSpace"), _NUMBERS),
    **dict.fromkeys(("Range", "ScatterND"), _NUMBERS),
    **dict.fromkeys(
        ("Concat", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape", "Shape", "Slice"), _ANY
    ),
    **dict.fromkeys(("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where", "Constant"), _ANY),
    **dict.fromkeys(("Cast", "ConstantOfShape"), _ANY),
    "Gelu": _NUMBERS | {TensorProto.INT8},
    "QuantizeLinear": _FLOATS,
    "DequantizeLinear": frozenset({TensorProto.INT8}),
}
_MIXED = {
    "Cast",
    "Gather",
    "GatherND",
    "Reshape",
    "Slice",
    "Expand",
    "Tile",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Pad",
    "Resize",
}
_MIXED |= {"QuantizeLinear", "DequantizeLinear", "ConstantOfShape", "Where", "ReduceMean", "ReduceSum", "ReduceL2"}
_MIXED |= {"ScatterND", "Clip"}  # operators whose inputs are not all of one type


def complaints(source: Path) -> list[str]:
    """Return every reason in the table for which the parser would refuse the file's graph, one line each."""
    inferred = source.with_suffix(".inferred")
    # from file to file: a model of more than 2 GiB has its weights beside it and is never one message
    onnx.shape_inference.infer_shapes_path(str(source), str(inferred), check_type=True, strict_mode=True)
    try:
        return _complaints(onnx.load(str(inferred), load_external_data=False), source.parent)
    finally:
        inferred.unlink()


def _complaints(model: ModelProto, folder: Path) -> list[str]:
    graph = model.graph
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    found = [] if opset in OPSETS else [f"opset {opset} is not among {OPSETS.start} to {OPSETS.stop - 1}"]
    constants = {i.name: i for i in graph.initializer}
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    types |= {name: i.data_type for name, i in constants.items()}
    for node in graph.node:
        found += [f"{node.name or node.op_type}: {reason}" for reason in _refused(node, types, constants, folder)]
    return found


def _refused(node: NodeProto, types: dict[str, int], constants: dict[str, TensorProto], folder: Path) -> Iterable[str]:
    if node.domain not in ("", "ai.onnx"):
        yield f"domain {node.domain} is not the standard one"
        return
    allowed = OPERATORS.get(node.op_type)
    if allowed is None:
        yield f"{node.op_type} is not in the parser's table"
        return
    inputs = [types[name] for name in node.input if name in types]
    if inputs and inputs[0] not in allowed:
        yield f"{node.op_type} of {TensorProto.DataType.Name(inputs[0])}"
    floats = {t for t in inputs if t in _FLOATS}
    if node.op_type not in _MIXED and len(floats) > 1:
        yield f"{node.op_type} mixes {' and '.join(sorted(TensorProto.DataType.Name(t) for t in floats))}"
    if node.op_type == "LayerNormalization" and len([o for o in node.output if o]) > 1:
        yield "only the first output of LayerNormalization is known"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from _quantized(node, constants, str(folder))


def _quantized(node: NodeProto, constants: dict[str, TensorProto], folder: str) -> Iterable[str]:
    if node.input[1] not in constants:
        yield "its scale is not a constant"
    elif (numpy_helper.to_array(constants[node.input[1]], folder).astype(np.float32) <= 0).any():
        yield "its scale is not positive"
    if len(node.input) < 3 or node.input[2] not in constants:
        yield "it has no constant zero point, which would make it uint8"
        return
    zero = constants[node.input[2]]
    if zero.data_type != TensorProto.INT8 or numpy_helper.to_array(zero, folder).any():
        yield "its zero point is not the int8 0"
