"""Quantize an ONNX graph to INT8: by Q/DQ pairs in the standard domain, or by ONNX Runtime's dynamic quantization."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporters.onnx.graph import quiet

SCOPES = "pkg.torch.onnx.name_scopes"


def layer_nodes(model: ModelProto) -> dict[str, NodeProto]:
    """Return the nodes that multiply by a linear layer's weight, by the name of the layer's torch module."""
    constant = {i.name for i in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm") or node.input[1] not in constant:
            continue
        scopes = [ast.literal_eval(p.value) for p in node.metadata_props if p.key == SCOPES]
        if scopes and len(scopes[0]) >= 2:
            found[scopes[0][-2].removeprefix("transformer.")] = node
    return found


def without_notes(model: ModelProto) -> ModelProto:
    """Remove the exporter's notes on every node's origin, a tenth of a small INT8 file, and return the graph."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    return model


def with_qdq(model: ModelProto, scales: Mapping[str, float]) -> ModelProto:
    """Put Q/DQ pairs around the inputs of the layers in `scales`; store their weights as int8 with a scale a channel.

    Symmetric, zero points 0 and written out (a missing one would mean uint8); scales have the type of what they
    quantize, so that a strongly typed parser finds one type on both sides.
    """
    nodes = layer_nodes(model)
    weights = {i.name: i for i in model.graph.initializer}
    pairs: dict[tuple[str, float], str] = {}
    fresh: dict[str, list[NodeProto]] = {}  # by the output of the node that they stand before
    zero = numpy_helper.from_array(np.array(0, np.int8), "zero_point")
    added = [zero]
    for name, scale in scales.items():
        node, before = nodes[name], []
        source, weight = node.input[0], weights[node.input[1]]
        values = numpy_helper.to_array(weight)
        if (source, scale) not in pairs:  # queries, keys and values read the same tensor
            pairs[source, scale] = f"{name}.input"
            added.append(numpy_helper.from_array(np.array(scale, values.dtype), f"{name}.input_scale"))
            before += _pair(source, f"{name}.input", f"{name}.input_scale")
        channels = 0 if node.op_type == "Gemm" and _attribute(node, "transB") else 1
        quantized, weight_scale = _per_channel(values, channels)
        added += [
            numpy_helper.from_array(quantized, f"{name}.weight_int8"),
            numpy_helper.from_array(weight_scale, f"{name}.weight_scale"),
            numpy_helper.from_array(np.zeros(len(weight_scale), np.int8), f"{name}.weight_zero"),
        ]
        inputs = [f"{name}.weight_int8", f"{name}.weight_scale", f"{name}.weight_zero"]
        before.append(
            helper.make_node("DequantizeLinear", inputs, [f"{name}.weight"], f"{name}.weight_dq", axis=channels)
        )
        node.input[0], node.input[1] = pairs[source, scale], f"{name}.weight"
        fresh[node.output[0]] = before
    ordered = []
    for node in model.graph.node:
        ordered += [*fresh.get(node.output[0], []), node]
    return _rebuilt(model, ordered, added)


def dynamic(source: Path, target: Path, floats: Collection[str]) -> None:
    """Quantize dynamically as ONNX Runtime does, with a weight scale a channel; layers in `floats` stay as they are."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    nodes = layer_nodes(model)
    kept = [nodes[name].name for name in floats]
    with quiet():
        quantize_dynamic(
            without_notes(model),
            str(target),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
        )


def _pair(source: str, name: str, scale: str) -> list[NodeProto]:
    quantize = helper.make_node("QuantizeLinear", [source, scale, "zero_point"], [f"{name}_int8"], f"{name}_q")
    return [quantize, helper.make_node("DequantizeLinear", [f"{name}_int8", scale, "zero_point"], [name], f"{name}_dq")]


def _per_channel(values: NDArray[np.floating], axis: int) -> tuple[NDArray[np.int8], NDArray[np.floating]]:
    """Return weights [in, out] or [out, in] as int8, with a scale for each index of `axis`."""
    w = values.astype(np.float32)
    scale = np.maximum(np.abs(w).max(axis=1 - axis), 1e-12) / 127
    quantized = np.clip(np.round(w / np.expand_dims(scale, 1 - axis)), -127, 127).astype(np.int8)
    return quantized, scale.astype(values.dtype)


def _attribute(node: NodeProto, name: str) -> int:
    return next((a.i for a in node.attribute if a.name == name), 0)


def _rebuilt(model: ModelProto, nodes: list[NodeProto], added: list[TensorProto]) -> ModelProto:
    used = {name for node in nodes for name in node.input}
    kept = [i for i in model.graph.initializer if i.name in used]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, [*kept, *added])
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
