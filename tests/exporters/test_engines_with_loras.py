"""Engines with LoRAs merged for good draw what torch draws with them, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from exported import FP32, roll
from loras import lora_file

from app.loaded_model import run_with_loras
from exporters.artifacts import ExportError, Store
from exporters.engine_modules import with_engine
from exporters.engine_registry import build, key_of, start
from models.checkpoints.assemble import Model
from models.cue import Cue, CueError, Cut, LoraScale, Prompt
from models.lora import LoraError
from streaming.rollout import record_of
from streaming.take.take_file import CueLine, Take
from streaming.take.take_loras import merged_loras, use_lora, use_loras, with_held_loras

INK, WASH = LoraScale("ink.safetensors", 0.8), LoraScale("wash.safetensors", -0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two LoRAs of the tiny model and an ONNX engine into which both are merged."""
    folder, model = tmp_path_factory.mktemp("loras"), tiny_model()
    for seed, lora in enumerate((INK, WASH)):
        lora_file(folder / lora.name, model.generator.transformer, seed)  # type: ignore[arg-type]
    build(inked(folder), FP32, Store(folder), lambda text: None)
    return folder


def inked(folder: Path, *scales: LoraScale) -> Model:
    """Return a model with LoRAs merged for good, as `longtake export` makes it of its options."""
    options = [f"{folder / lora.name}:{lora.scale:g}" for lora in scales or (INK, WASH)]
    return merged_loras(tiny_model(), options)[0]


def readable(folder: Path) -> Model:
    """Return a torch model whose takes may use both LoRAs."""
    model = tiny_model()
    for lora in (INK, WASH):
        use_lora(model, lora.name, folder / lora.name)
    return model


def take_of(*lines: CueLine) -> Take:
    return Take(model="tiny", length=9, cues=[CueLine(prompt="one"), *lines])


def test_an_engine_draws_what_torch_draws_with_the_same_loras(folder: Path) -> None:
    cues: dict[int, list[Cue]] = {0: [INK, WASH, Prompt("one")], 3: [Prompt("two")], 5: [Cut(), Prompt("one")]}
    torchs = roll(readable(folder), 7, cues)
    model = inked(folder)
    engine = with_engine(model, start(model, FP32, Store(folder)))
    torch.testing.assert_close(roll(engine, 7, cues), torchs, atol=1e-4, rtol=0)
    without = roll(readable(folder), 7, {**cues, 0: [Prompt("one")]})
    assert float((without - torchs).abs().max()) > 0.05
    record = record_of(engine, torch.device("cpu"))
    assert {INK.name, WASH.name} == {key.removeprefix("lora ") for key in record if key.startswith("lora ")}
    assert record["engine"] == "onnx"


def test_an_engine_belongs_to_the_content_and_the_scales_of_its_loras(folder: Path, tmp_path: Path) -> None:
    names = {key_of(tiny_model(), FP32).name, key_of(inked(folder), FP32).name, key_of(inked(folder, INK), FP32).name}
    names.add(key_of(inked(folder, replace(INK, scale=0.7)), FP32).name)
    (tmp_path / INK.name).write_bytes((folder / WASH.name).read_bytes())
    names.add(key_of(inked(tmp_path, INK), FP32).name)
    assert len(names) == 5
    assert key_of(inked(folder, WASH, INK), FP32).name in names
    make = "longtake export tiny --engine onnx --precision fp32 --lora ink.safetensors:0.8"
    with pytest.raises(
        ExportError, match=f"no onnx fp32 engine .* with ink.safetensors:0.8 merged is here; .*: {make}$"
    ):
        start(inked(folder, INK), FP32, Store(folder))


@pytest.mark.parametrize("scales", [(), (INK,), (INK, replace(WASH, scale=0.5))])
def test_a_take_with_other_loras_is_refused_by_the_engine(folder: Path, scales: tuple[LoraScale, ...]) -> None:
    engine = inked(folder)
    state = engine.generator.new_take(0, 32, 32)
    others = [LoraScale(lora.name, 0.0) for lora in (INK, WASH) if lora.name not in [s.name for s in scales]]
    with pytest.raises(CueError, match=r"this engine has ink.safetensors:0.8, wash.safetensors:-0.5 merged for good"):
        engine.generator.draw(state, [*others, *scales, Prompt("one")])
    lines = [CueLine(lora=[f"{lora.name}:{lora.scale}" for lora in scales])] if scales else []
    with pytest.raises(CueError, match="merged for good, and the take asks for"):
        use_loras(engine, take_of(*lines), folder)


def test_render_runs_a_take_by_the_engine_that_has_its_loras(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.loaded_model.engines_folder", lambda: folder)
    both = CueLine(lora=[f"{INK.name}:0.8", f"{WASH.name}:-0.5"])
    found = run_with_loras(readable(folder), [take_of(both)], "onnx:fp32")
    assert found.engine["engine"] == "onnx"
    assert use_loras(found, take_of(both), folder) == []
    one = take_of(CueLine(lora=[f"{INK.name}:0.8"]))
    with pytest.raises(ExportError, match=r"make it with: longtake export .* --lora ink.safetensors:0.8"):
        run_with_loras(readable(folder), [one], "onnx:fp32")
    changing = take_of(both, CueLine(at=3, lora=[f"{INK.name}:0.2"]))
    with pytest.raises(LoraError, match="these change during the take; use --engine torch"):
        run_with_loras(readable(folder), [changing], "onnx:fp32")
    for take in (one, changing):  # torch is left as it was, with LoRAs that may change
        model = readable(folder)
        assert run_with_loras(model, [take], "auto") is model
        assert model.generator.loras is not None


def test_loras_of_scale_0_are_nothing_to_merge(folder: Path) -> None:
    with pytest.raises(LoraError, match="every LoRA has the scale 0"):
        inked(folder, replace(INK, scale=0.0))


def test_a_model_with_loras_for_good_is_torchs_model_with_them(folder: Path) -> None:
    cues: dict[int, list[Cue]] = {0: [INK, Prompt("one")]}
    fixed = with_held_loras(readable(folder), (INK,))
    assert torch.equal(roll(fixed, 3, cues), roll(readable(folder), 3, cues))
