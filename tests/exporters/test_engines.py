"""What engines promise: torch's latents, from the same cues, through the same ring."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from conftest import tiny_avatar, tiny_model, tiny_text
from exported import EVENTFUL, FP32, INT8, roll, tiny_store
from torch import Tensor

from exporters.artifacts import Store
from exporters.capture import TorchRunner
from exporters.engine_modules import Runners, Variant, with_engine
from exporters.engine_registry import build, start
from exporters.module_files import modules
from exporters.parity import psnr
from exporters.rollouts import roll as roll_script
from exporters.rollouts import script
from models.cache_shape import AnchorPolicy, ReferenceRule
from models.checkpoints.assemble import Model
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Cue, Cut, Follow, Parameter, Prompt, Recall, Reference, Region, Start, StartBy, Unfollow
from models.generator import Generator
from models.transformer import CausalWanTransformer
from streaming.rollout import record_of


@pytest.fixture
def store() -> Store:
    return tiny_store()


def in_torch(model: Model) -> Model:
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    return with_engine(model, Runners(Variant("onnx", "fp32"), "torch", TorchRunner(transformer), None))


@pytest.mark.parametrize("policy", list(AnchorPolicy))
@pytest.mark.parametrize("sink", [0, 3])
def test_the_exportable_step_draws_what_the_ring_draws(policy: AnchorPolicy, sink: int) -> None:
    model = tiny_model(policy, sink=sink)
    torch.testing.assert_close(roll(in_torch(model), 26, EVENTFUL), roll(model, 26, EVENTFUL), atol=2e-5, rtol=0)


def test_an_engine_reads_a_padded_prompt_as_torch_does_that_keeps_few_of_its_keys() -> None:
    """An engine's text has as many positions as it was exported with."""
    model = tiny_model()

    def padded(prompts: list[str]) -> Tensor:
        return torch.cat([tiny_text(prompts), torch.zeros(len(prompts), 90, 16)], 1)

    generator = Generator(model.generator.config, model.generator.transformer, padded, model.generator.codec)
    model = replace(model, generator=generator)
    assert generator.text("one").layers[0][0].shape[1] == 32
    assert modules(model, torch.float32).text_length == generator.text("one").embeddings.shape[1]
    torch.testing.assert_close(roll(in_torch(model), 8, EVENTFUL), roll(model, 8, EVENTFUL), atol=2e-5, rtol=0)


@pytest.mark.parametrize("policy", list(AnchorPolicy))
def test_onnx_draws_torchs_take_through_recaches_evictions_flushes_and_cuts(store: Store, policy: AnchorPolicy) -> None:
    model = tiny_model()
    runners = start(model, FP32, store)
    model = tiny_model(policy)
    torch.testing.assert_close(
        roll(with_engine(model, runners), 40, EVENTFUL), roll(model, 40, EVENTFUL), atol=1e-4, rtol=0
    )


class Stripes:
    """Give frames of moving stripes."""

    def frames(self, source: str, first: int, count: int) -> Tensor:
        numbers = torch.arange(first, first + count).view(-1, 1, 1, 1)
        rows = torch.arange(32).view(1, -1, 1, 1)
        return (((rows + numbers) % 8) * 32).to(torch.uint8).expand(-1, -1, 32, 3).contiguous()


def test_onnx_draws_torchs_take_with_a_start_a_source_a_region_and_a_recall(store: Store) -> None:
    """None of them needs a shape of step that the engine does not have."""
    film = Stripes().frames("", 0, 33).numpy().tobytes()
    region = Region("1100" * 4, 4, 4)
    cues: dict[int, list[Cue]] = {
        0: [Prompt("one"), Start(film[: 32 * 32 * 3], 32, 32, StartBy.PIN)],
        2: [Prompt("two"), Follow("a", 0.6, region)],
        6: [Unfollow(), Start(film, 32, 32)],
        11: [Recall(2)],
        14: [Parameter("on_switch", "recall"), Prompt("two")],
    }

    def drawn(model: Model) -> Tensor:
        state, out = model.generator.new_take(0, 32, 32), []
        for i in range(18):
            out.append(model.generator.draw(state, cues.get(i, []), footage=Stripes()))
            model.generator.commit(state)
        return torch.cat(out, 2)

    runners = start(tiny_model(), FP32, store)
    torch.testing.assert_close(drawn(with_engine(tiny_model(), runners)), drawn(tiny_model()), atol=1e-4, rtol=0)


@pytest.mark.parametrize("knot", [1, 2])
def test_onnx_draws_torchs_take_with_knots(store: Store, knot: int) -> None:
    runners = start(tiny_model(), FP32, store)
    model = tiny_model(knot=knot)
    ours, torchs = (roll(m, 30, EVENTFUL) for m in (with_engine(model, runners), model))
    torch.testing.assert_close(ours, torchs, atol=1e-4, rtol=0)


def spoken(model: Model, chunks: int, faces: int = 1) -> Tensor:
    """Return the clean latents of driven takes in step whose portrait changes amid it."""
    state, out = model.generator.new_take(tuple(range(faces)), 32, 32), []
    knot, generator = model.entry.rollout.knot, torch.Generator().manual_seed(1)
    portraits = [Reference(bytes((i * 7 + shift) % 256 for i in range(3072)), 32, 32) for shift in (0, 90)]
    cues: dict[int, list[Cue]] = {0: [Prompt("speaks"), portraits[0]], 9: [portraits[1]], 14: [Cut()]}
    for i in range(chunks):
        drive = torch.randn(faces, 3 + knot, 7, 64, generator=generator)
        out.append(model.generator.draw(state, cues.get(i, []), drive))
        model.generator.commit(state)
    return torch.cat(out, 2)


@pytest.mark.parametrize("policy", ["gap", pytest.param("stride", marks=pytest.mark.long)])
def test_onnx_draws_torchs_avatar_with_reference_knots_and_drive(tmp_path: Path, policy: str) -> None:
    model = tiny_avatar(rule=ReferenceRule(policy))  # type: ignore[arg-type]
    store = Store(tmp_path)
    build(model, FP32, store, lambda text: None)
    ours = with_engine(model, start(model, FP32, store))
    torch.testing.assert_close(spoken(ours, 20), spoken(model, 20), atol=1e-4, rtol=0)
    torch.testing.assert_close(spoken(ours, 5, faces=2), spoken(model, 5, faces=2), atol=1e-4, rtol=0)


def test_a_float16_engine_takes_a_portrait_that_torch_reads_in_float32(tmp_path: Path) -> None:
    model, variant, store = tiny_avatar(), Variant("onnx", "fp16"), Store(tmp_path)
    build(model, variant, store, lambda text: None)
    ours = with_engine(model, start(model, variant, store))
    torch.testing.assert_close(spoken(ours, 8).float(), spoken(model, 8), atol=0.1, rtol=0)


def test_one_file_serves_every_size_of_picture(store: Store) -> None:
    model = tiny_model()
    other = with_engine(model, start(model, FP32, store))
    for size in ((48, 32), (16, 64)):
        torch.testing.assert_close(roll(other, 9, EVENTFUL, size), roll(model, 9, EVENTFUL, size), atol=1e-4, rtol=0)


def test_a_snapshot_of_an_engine_goes_on_to_the_bit(store: Store) -> None:
    model = tiny_model()
    generator = with_engine(model, start(model, FP32, store)).generator
    state = generator.new_take(0, 32, 32)
    for i in range(7):
        state.codec.decode(generator.draw(state, EVENTFUL.get(i, [])))
        generator.commit(state)
    again = generator.restore(generator.snapshot(state))
    for i in range(7, 12):
        a, b = generator.draw(state, EVENTFUL.get(i, [])), generator.draw(again, EVENTFUL.get(i, []))
        assert torch.equal(a, b)
        assert torch.equal(state.codec.decode(a), again.codec.decode(b))
        generator.commit(state)
        generator.commit(again)


def test_two_takes_may_take_turns_on_one_engine(store: Store) -> None:
    model = tiny_model()
    other = with_engine(model, start(model, FP32, store))
    alone = roll(other, 6, {0: [Prompt("one")]})
    states = [other.generator.new_take(seed, 32, 32) for seed in (0, 1)]
    drawn = []
    for i in range(6):
        for state, prompt in zip(states, ("one", "two"), strict=True):
            latents = other.generator.draw(state, [Prompt(prompt)] if i == 0 else [])
            other.generator.commit(state)
            drawn += [latents] if prompt == "one" else []
    assert torch.equal(torch.cat(drawn, 2), alone)


@pytest.mark.parametrize("takes", [1, 2])
def test_the_decoder_gives_torchs_frames(store: Store, takes: int) -> None:
    model = tiny_model()
    other = with_engine(model, start(model, FP32, store))
    a, b = model.generator.new_take(0, 32, 32).codec, other.generator.new_take(0, 32, 32).codec
    for latents in (torch.randn(takes, 4, n, 4, 4) for n in (3, 1, 3)):
        difference = (a.decode(latents).int() - b.decode(latents).int()).abs()
        assert difference.max() <= 1  # a rounding
    a.reset(hold=True)
    b.reset(hold=True)
    assert a.decode(latents).shape == b.decode(latents).shape == (12, 32, 32 * takes, 3)


def test_the_record_names_engine_and_precision(store: Store) -> None:
    model = tiny_model()
    record = record_of(with_engine(model, start(model, INT8, store)), torch.device("cpu"))
    assert (record["engine"], record["precision"]) == ("onnx", "int8")
    assert str(record["runtime"]).startswith("onnxruntime 1.")
    assert record_of(model, torch.device("cpu"))["engine"] == "torch"


def test_the_graph_is_standard_and_has_no_fixed_past(store: Store) -> None:
    graph = onnx.load(str(next(store.folder.glob("*fp32*")) / "step.onnx")).graph
    shapes = {i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in graph.input}
    assert all(isinstance(shapes["latents"][axis], str) for axis in (2, 3, 4))
    assert isinstance(shapes["past_keys"][1], str)
    assert {n.domain for n in graph.node} == {""}


@pytest.mark.parametrize("precision", [*(pytest.param(p, marks=pytest.mark.long) for p in ("fp32", "fp16")), "int8"])
def test_openvino_runs_the_product(tmp_path: Path, precision: str) -> None:
    model, variant, store = tiny_model(), Variant("openvino", precision), Store(tmp_path)
    build(model, variant, store, lambda text: None)
    other = with_engine(model, start(model, variant, store))
    take = script(1, 6, (3,))
    for (a, want), (b, have) in zip(roll_script(model, take), roll_script(other, take), strict=True):
        assert (want - have).norm() / want.norm() < {"fp32": 1e-4, "fp16": 0.1, "int8": 0.2}[precision]
        # both decode torch's latents, so that the decoder is compared and not the step before it
        assert psnr(a.codec.decode(want), b.codec.decode(want)) > {"fp32": 60, "fp16": 40, "int8": 25}[precision]


@pytest.mark.parametrize(("first", "then"), [("torch", "fp16"), pytest.param("fp16", "torch", marks=pytest.mark.long)])
def test_a_take_goes_on_from_its_file_on_an_engine_of_another_type(tmp_path: Path, first: str, then: str) -> None:
    plain, variant, store = tiny_model(), Variant("onnx", "fp16"), Store(tmp_path)
    build(plain, variant, store, lambda text: None)
    models = {"torch": plain, "fp16": with_engine(plain, start(plain, variant, store))}
    generator = models[first].generator
    state = generator.new_take(0, 32, 32)
    for i in range(7):
        state.codec.decode(generator.draw(state, EVENTFUL.get(i, [])))
        generator.commit(state)
    save_snapshot(generator.snapshot(state), tmp_path / "s.safetensors")
    other = models[then].generator
    again = other.restore(load_snapshot(tmp_path / "s.safetensors", other.device, other.dtype))
    for i in range(7, 10):  # a recache among them
        want, have = generator.draw(state, EVENTFUL.get(i, [])), other.draw(again, EVENTFUL.get(i, []))
        assert (want.float() - have.float()).norm() / want.float().norm() < 0.05
        assert psnr(state.codec.decode(want), again.codec.decode(have)) > 25
        generator.commit(state)
        other.commit(again)


def test_float16_files_multiply_by_float16_weights(tmp_path: Path) -> None:
    model, variant, store = tiny_model(), Variant("onnx", "fp16"), Store(tmp_path)
    folder = build(model, variant, store, lambda text: None)
    graph = onnx.load(str(folder / "step.onnx")).graph
    types = {i.name: i.data_type for i in graph.initializer}
    products = [n for n in graph.node if n.op_type in ("MatMul", "Gemm", "Conv") and n.input[1] in types]
    assert {types[n.input[1]] for n in products} == {onnx.TensorProto.FLOAT16}
    other = with_engine(model, start(model, variant, store))
    want, have = roll(model, 6, EVENTFUL), roll(other, 6, EVENTFUL)
    assert (want - have.float()).norm() / want.norm() < 0.02
