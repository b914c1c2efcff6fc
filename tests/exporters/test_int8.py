"""INT8: what the graph computes, which layers stay in float, and how small the file becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import tiny_model
from exported import FP32, INT8, tiny_store
from torch import Tensor

from exporters.artifacts import read_json
from exporters.capture import Captured, capture, x0_error
from exporters.engine_modules import NOTES, STEP
from exporters.engine_registry import key_of
from exporters.int8 import calibrate, sensitivity
from exporters.int8.graph import dynamic, layer_nodes, with_qdq
from exporters.int8.simulated import linears, quantized, quantized_activation, quantized_weight
from exporters.rollouts import script
from exporters.step import Step
from models.checkpoints.assemble import Model
from models.transformer import CausalWanTransformer


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def passes(model: Model) -> list[Captured]:
    return capture(model, [script(1, 8, (3,))], every=3)


def transformer_of(model: Model) -> CausalWanTransformer:
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    return transformer


def float_step(model: Model) -> onnx.ModelProto:
    return onnx.load(str(tiny_store().path(key_of(model, FP32)) / STEP))


def run(graph: onnx.ModelProto | Path, one: Captured) -> Tensor:
    """Return the prediction, without the optimizations that trade exactness for speed."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["prediction"], {n: t.numpy() for n, t in one.inputs.items()})[0])


def test_a_weight_keeps_its_largest_value_and_rounds_the_rest() -> None:
    w = torch.tensor([[1.27, 0.004, -0.016], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(quantized_weight(w), torch.tensor([[1.27, 0.0, -0.02], [0.0, 0.0, 0.0]]))


def test_an_activation_without_a_scale_keeps_both_its_ends_and_zero() -> None:
    x = torch.tensor([-1.0, 0.0, 3.0])
    torch.testing.assert_close(quantized_activation(x, None), x, atol=4 / 255 / 2, rtol=0)
    assert quantized_activation(x, None)[1] == 0


def test_every_linear_layer_of_a_step_is_found_in_the_graph(model: Model, passes: list[Captured]) -> None:
    scales = calibrate.activation_scales(transformer_of(model), passes)
    assert set(layer_nodes(float_step(model))) == set(scales)
    text_only = {n for n in linears(transformer_of(model)) if n not in scales}
    assert all("attn2.to_k" in n or "attn2.to_v" in n or "text_embedder" in n for n in text_only)


def test_the_qdq_graph_computes_what_the_imitation_in_torch_says(model: Model, passes: list[Captured]) -> None:
    scales = calibrate.activation_scales(transformer_of(model), passes)
    graph = with_qdq(float_step(model), scales)
    onnx.checker.check_model(graph, full_check=True)
    step = Step(transformer_of(model))
    for one in [p for p in passes if p.sigma > 0][:4]:
        with quantized(transformer_of(model), scales):
            want = step(**one.inputs)[0]
        have = run(graph, one)
        assert (have - want).norm() / want.norm() < 5e-3  # a value may fall on the other side of a rounding
        assert 1e-4 < x0_error(model, one, have) < 0.2  # and it is not the float graph


def test_the_dynamic_graph_is_near_the_imitation(model: Model, passes: list[Captured], tmp_path: Path) -> None:
    onnx.save(float_step(model), str(tmp_path / "float.onnx"))
    dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", ["proj_out"])
    graph = onnx.load(str(tmp_path / "int8.onnx"))
    assert "proj_out" not in layer_nodes(graph)
    assert sum(n.op_type == "MatMulInteger" for n in graph.graph.node) == len(layer_nodes(float_step(model))) - 1
    for one in passes[:3]:
        assert x0_error(model, one, run(tmp_path / "int8.onnx", one)) < 0.05


def test_weights_come_back_unchanged_from_the_imitation(model: Model) -> None:
    transformer = transformer_of(model)
    before = {n: p.clone() for n, p in transformer.named_parameters()}
    with quantized(transformer, dict.fromkeys(["proj_out"])):
        assert not torch.equal(before["proj_out.weight"], transformer.proj_out.weight)
    assert all(torch.equal(before[n], p) for n, p in transformer.named_parameters())


def test_the_layer_that_hurts_is_found_and_kept_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """One input of one layer is made a thousand times as large as the rest; int8 then has no steps left for those."""
    model = tiny_model()
    transformer = transformer_of(model)
    name = "blocks.1.attn1.to_out.0"
    with torch.no_grad():
        transformer.blocks[1].attn1.to_v.weight[0] *= 1000
        transformer.blocks[1].attn1.to_out[0].weight[:, 0] /= 1000
    captured = capture(model, [script(1, 5, (3,))], every=4)
    scales: dict[str, float | None] = dict.fromkeys(calibrate.activation_scales(transformer, captured))
    monkeypatch.setattr(sensitivity, "BUDGET", 0.1)
    found = sensitivity.measure(model, scales, captured)
    assert min(found.without, key=lambda n: found.without[n]) in (name, "blocks.1.attn1.to_v")
    assert name in found.kept
    assert found.left < found.whole


def test_each_layer_is_left_out_of_a_few_passes_from_the_whole_rollout_however_many_were_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, ran = tiny_model(), list[Tensor]()
    transformer = transformer_of(model)
    captured = capture(model, [script(1, 8, (3,))], every=1)
    monkeypatch.setattr(sensitivity, "PASSES", 2)
    transformer.register_forward_pre_hook(lambda _, inputs: ran.append(inputs[0]))
    scales = dict.fromkeys(["proj_out", "blocks.0.ffn.net.2"])
    sensitivity.measure(model, scales, captured)
    assert len(ran) == 2 * (1 + len(scales))
    noisy = [c.inputs["latents"] for c in captured if c.sigma > 0]
    assert len(noisy) > 10
    assert [next(n for n, x in enumerate(noisy) if torch.equal(x, latents)) for latents in ran[:2]] == [
        0,
        len(noisy) // 2,
    ]


def test_the_scale_of_an_activation_with_a_rare_outlier_clips_it() -> None:
    x = torch.cat([torch.randn(100_000, generator=torch.Generator().manual_seed(0)), torch.tensor([8.0])])
    assert calibrate._best(x, 8.0) < 8.0 / 127
    even = torch.linspace(-1, 1, 1000)
    assert calibrate._best(even, 1.0) == pytest.approx(1 / 127)


def test_the_artifact_lists_what_was_measured_and_what_stays_in_float() -> None:
    note = read_json(tiny_store().path(key_of(tiny_model(), INT8)) / NOTES)
    assert note["scheme"] == "dynamic"
    assert set(note["kept"]) <= set(note["without"])
    assert np.isfinite(note["whole"])


@pytest.mark.long
def test_pockets_int8_weights_are_at_most_thirty_percent_of_float32(tmp_path: Path) -> None:
    from exporters.artifacts import Store
    from exporters.engine_registry import build
    from models.catalog import POCKET
    from models.checkpoints.assemble import ASSETS, load

    pocket = load(POCKET, ASSETS, torch.device("cpu"), torch.float32)
    folder = build(pocket, INT8, Store(tmp_path), lambda text: None)
    once_a_prompt = ("text_embedder", "attn2.to_k", "attn2.to_v", "attn2.norm_k", "attn2.add")  # not in a step
    named = transformer_of(pocket).named_parameters()
    weights = sum(p.numel() * 4 for n, p in named if not any(part in n for part in once_a_prompt))
    assert (folder / STEP).stat().st_size <= 0.3 * weights
