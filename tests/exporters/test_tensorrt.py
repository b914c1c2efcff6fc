"""TensorRT without a GPU: table, build and run are held to a stand-in and to the names in the real wheel."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from conftest import tiny_avatar, tiny_model
from exported import FP32, INT8, roll, tiny_store
from onnx import TensorProto, helper, numpy_helper
from standin import StandIn

from exporters.artifacts import ExportError
from exporters.capture import CapturingRunner, capture
from exporters.engine_modules import DECODER, STEP, EngineTransformer
from exporters.engine_registry import key_of, require
from exporters.int8 import calibrate
from exporters.int8.graph import with_qdq
from exporters.module_files import modules
from exporters.onnx.graph import export_step
from exporters.rollouts import script
from exporters.shapes import occurring
from exporters.tensorrt import runner
from exporters.tensorrt.build import build_plan
from exporters.tensorrt.engine import decoder_profiles, step_profiles
from exporters.tensorrt.operators import complaints
from exporters.tensorrt.runner import TensorrtRunner
from models.cue import Prompt
from models.generator import Generator
from models.transformer import CausalWanTransformer


def exported(name: str) -> Path:
    return tiny_store().path(key_of(tiny_model(), FP32)) / name


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    standin = StandIn()
    monkeypatch.setitem(sys.modules, "tensorrt", standin.module)
    return standin


def built(standin: StandIn, folder: Path) -> Path:
    (folder / STEP).write_bytes(b"graph")
    build_plan(folder / STEP, step_profiles(tiny_model()), folder / "step.plan", folder / "timings", lambda text: None)
    return folder / "step.plan"


def test_step_and_decoder_hold_to_the_parsers_table() -> None:
    assert complaints(exported(STEP)) == []
    assert complaints(exported(DECODER)) == []


def test_the_int8_graph_over_float16_is_strongly_typed_and_holds_to_the_table(tmp_path: Path) -> None:
    model = tiny_model()
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    scales = calibrate.activation_scales(transformer, capture(model, [script(1, 4, ())], every=4))
    graph = with_qdq(export_step(transformer.half(), tmp_path / STEP, text_length=6), scales)
    onnx.save(graph, str(tmp_path / STEP))
    assert complaints(tmp_path / STEP) == []
    kinds = {i.data_type for i in graph.graph.initializer if i.name.endswith("scale")}
    assert kinds == {TensorProto.FLOAT16}
    pairs = [n for n in graph.graph.node if n.op_type == "QuantizeLinear"]
    assert 0 < len(pairs) < len(scales)  # queries, keys and values share one


def test_dynamic_quantization_is_nothing_for_the_parser() -> None:
    found = complaints(tiny_store().path(key_of(tiny_model(), INT8)) / STEP)
    assert any("MatMulInteger is not in the parser's table" in reason for reason in found)


def _graph(
    nodes: list[onnx.NodeProto], x: int = TensorProto.FLOAT, opset: int = 20, **constants: np.ndarray
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", x, [2, 2])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)]
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


QUANTIZE = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (_graph([helper.make_node("NonZero", ["x"], ["y"])]), "NonZero is not in the parser's table"),
        (_graph([helper.make_node("Sqrt", ["x"], ["y"])], TensorProto.DOUBLE), "Sqrt of DOUBLE"),
        (_graph([helper.make_node("Sqrt", ["x"], ["y"])], opset=8), "opset 8 is not among 9 to 24"),
        (_graph([QUANTIZE], s=np.float32(0.1), z=np.uint8(0)), "its zero point is not the int8 0"),
        (_graph([QUANTIZE], s=np.float32(0.1), z=np.int8(3)), "its zero point is not the int8 0"),
        (_graph([QUANTIZE], s=np.float32(0), z=np.int8(0)), "its scale is not positive"),
        (_graph([helper.make_node("QuantizeLinear", ["x", "s"], ["y"])], s=np.float32(1)), "no constant zero point"),
    ],
)
def test_what_the_parser_would_refuse_is_named(tmp_path: Path, graph: onnx.ModelProto, reason: str) -> None:
    onnx.save(graph, str(tmp_path / STEP))
    assert any(reason in said for said in complaints(tmp_path / STEP)), complaints(tmp_path / STEP)
    assert [p.name for p in tmp_path.iterdir()] == [STEP]


def test_a_graph_whose_weights_lie_beside_it_is_held_to_the_table_without_them(tmp_path: Path) -> None:
    """The weights of a model of more than 2 GiB lie so, as no single message can hold them."""
    onnx.save(onnx.load(str(exported(STEP))), str(tmp_path / STEP), save_as_external_data=True, size_threshold=512)
    assert complaints(tmp_path / STEP) == []


def test_there_is_one_profile_a_pair_and_all_shapes_agree() -> None:
    model = tiny_model()
    profiles = step_profiles(model)
    assert [(p["cos"][0], p["past_keys"][1]) for p in profiles] == occurring(model, (32, 32))
    for p in profiles:
        assert p["cos"][0] == p["latents"][2] * 4  # tokens of a latent
        assert p["past_keys"] == p["past_values"]
    inputs = {i.name for i in onnx.load(str(exported(STEP))).graph.input}
    assert {frozenset(p) for p in profiles} == {frozenset(inputs)}
    assert set(decoder_profiles(model)[0]) == {i.name for i in onnx.load(str(exported(DECODER))).graph.input}
    assert model.generator.codec is not None


def test_a_driven_model_has_a_profile_for_every_input_and_for_the_knot_that_ends_a_take(tmp_path: Path) -> None:
    model = tiny_avatar(knot=1)
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    graph = export_step(transformer, tmp_path / STEP, text_length=6).graph
    assert {frozenset(p) for p in step_profiles(model)} == {frozenset(i.name for i in graph.input)}
    assert all(p["drive"][1] == p["latents"][2] for p in step_profiles(model))
    assert [p["latents"][2] for p in decoder_profiles(model)] == [1, 3]


def test_what_takes_feed_is_what_the_profiles_and_the_graph_were_made_for(tmp_path: Path) -> None:
    """Prompts of any length are fed at the one length of the plan, though torch keeps fewer keys of short ones."""

    def text(prompts: list[str]) -> torch.Tensor:
        words = [len(prompt.split()) for prompt in prompts]
        return torch.stack([torch.nn.functional.pad(torch.ones(n, 16), (0, 0, 0, 96 - n)) for n in words])

    plain = tiny_model()
    transformer = plain.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    generator = Generator(plain.generator.config, transformer, text, plain.generator.codec)
    model = replace(plain, generator=generator)
    lengths = {model.generator.text("word " * n).layers[0][0].shape[1] for n in (1, 40, 90)}
    assert lengths == {32, 64, 96}  # as torch keeps them
    runner, profiles = CapturingRunner(transformer, every=1), step_profiles(model)
    watched = replace(model, generator=generator.run_by(EngineTransformer(transformer, runner)))
    roll(watched, 9, {0: [Prompt("word " * 90)], 3: [Prompt("one")], 7: [Prompt("word " * 40)]})
    assert len(runner.kept) > 20
    for passed in runner.kept:
        assert {name: tuple(t.shape) for name, t in passed.inputs.items()} in profiles
    length = modules(model, torch.float32).text_length
    for given in export_step(transformer, tmp_path / STEP, text_length=length).graph.input:
        fixed = [d.dim_value if d.HasField("dim_value") else None for d in given.type.tensor_type.shape.dim]
        for profile in profiles:
            assert len(profile[given.name]) == len(fixed)
            assert all(size in (None, n) for size, n in zip(fixed, profile[given.name], strict=True)), given.name


def test_the_whole_build_path_runs(standin: StandIn, tmp_path: Path) -> None:
    plan = built(standin, tmp_path)
    assert plan.read_bytes() == b"plan"
    assert standin.profiles == step_profiles(tiny_model())
    assert standin.calls == ["network 0", f"workspace {4 << 30}", "clear TF32"]
    built(standin, tmp_path)
    assert standin.timings == [b"", b"timings"]  # the second build profits from the first


@pytest.mark.parametrize(
    ("refuses", "reason"),
    [
        ("parse", "does not take it .no kernel for this"),
        ("profile", "refuses the profile"),
        ("build", "could not build it"),
    ],
)
def test_what_tensorrt_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refuses: str, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", (standin := StandIn(refuses=refuses)).module)
    with pytest.raises(ExportError, match=reason):
        built(standin, tmp_path)
    assert not (tmp_path / "step.plan").exists()


def test_bindings_are_made_once_a_shape_and_replayed(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        cuda_stream = 7

        def __init__(self, device: torch.device) -> None: ...
        def synchronize(self) -> None: ...

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(runner, "capture", lambda context, stream: lambda: context.execute_async_v3(7))
    engine = TensorrtRunner(built(standin, tmp_path), torch.float32, torch.device("cpu"))
    for number in range(3):
        for shapes in step_profiles(tiny_model())[:2]:
            queries = shapes["cos"][0]
            new = (2, queries, 2, 24)
            outputs = {
                "prediction": torch.zeros(shapes["latents"]),
                "new_keys": torch.zeros(new),
                "new_values": torch.zeros(new),
            }
            # another type than the engine's own, as a model in bfloat16 hands over
            engine.run({n: torch.full(s, number + 1, dtype=torch.bfloat16) for n, s in shapes.items()}, outputs)
            assert all((t == 2 * (number + 1)).all() for t in outputs.values())  # what the stand-in computes
    assert standin.runs == 6
    assert [c for c in standin.calls if c.startswith("profile")] == ["profile 0", "profile 1"]
    assert not [c for c in standin.calls if c.startswith("address") and c.endswith("False")]
    with pytest.raises(ExportError, match="built for other shapes"):
        engine.run({n: torch.ones([d + 1 for d in s]) for n, s in shapes.items()}, outputs)
    (tmp_path / "bad.plan").write_bytes(b"damaged")
    with pytest.raises(ExportError, match="cannot read it on this GPU"):
        TensorrtRunner(tmp_path / "bad.plan", torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("refuses", ["context", "address", "run"])
def test_what_tensorrt_refuses_at_run_time_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", (standin := StandIn(refuses=refuses)).module)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(cuda_stream=7, synchronize=lambda: None))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    engine = TensorrtRunner(built(standin, tmp_path), torch.float32, torch.device("cpu"))
    shapes = step_profiles(tiny_model())[0]
    outputs = {n: torch.zeros(shapes["latents"]) for n in ("prediction", "new_keys", "new_values")}
    with pytest.raises(ExportError, match="GPU memory" if refuses == "context" else "TensorRT refuses the"):
        engine.run({n: torch.ones(s) for n, s in shapes.items()}, outputs)


def test_a_timing_cache_of_another_gpu_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", (standin := StandIn(refuses="timings")).module)
    (tmp_path / "timings").write_bytes(b"another GPU's")
    assert built(standin, tmp_path).read_bytes() == b"plan"
    assert standin.timings == [b"another GPU's", b""]


def test_without_tensorrt_one_sentence_says_how_to_get_it() -> None:
    with pytest.raises(
        ExportError, match=r"engine tensorrt needs tensorrt, which is not installed: pip install .*nvidia"
    ):
        require("tensorrt")
    done = subprocess.run(
        [sys.executable, "-m", "exporters.verify", "--engine", "tensorrt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_every_name_used_is_in_the_real_bindings(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, not signatures: the wheel's compiled bindings cannot be loaded without NVIDIA's libraries."""
    test_bindings_are_made_once_a_shape_and_replayed(standin, tmp_path, monkeypatch)
    source = "".join(Path(p).read_text() for p in Path("exporters/tensorrt").glob("*.py"))
    names = standin.used | set(re.findall(r"\btrt\.(\w+)", source))
    wanted = ["tensorrt_cu13_bindings==11.4.0.106", "--no-deps", "--only-binary=:all:", "-d", str(tmp_path)]
    where = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"]
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", *wanted, *where], check=True)
    with zipfile.ZipFile(io.BytesIO(next(tmp_path.glob("*.whl")).read_bytes())) as wheel:
        binary = b"".join(wheel.read(n) for n in wheel.namelist() if n.endswith((".so", "__init__.py")))
    assert {n for n in names if not n.startswith("_") and n.encode() not in binary} == set()
