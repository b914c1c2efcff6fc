"""Export tiny models once for all tests of this folder."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import torch
from conftest import tiny_model

from exporters.artifacts import Store
from exporters.engine_modules import Variant
from exporters.engine_registry import build
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Seed

FP32, INT8 = Variant("onnx", "fp32"), Variant("onnx", "int8")

EVENTFUL: dict[int, list[Cue]] = {
    0: [Prompt("one")],
    2: [Prompt("two")],  # a recache that writes the sink anew
    8: [Prompt("three")],  # one past evictions, under the sink that stays
    11: [Prompt("four", blend=3)],
    15: [Parameter("on_switch", "flush"), Prompt("five")],
    18: [Parameter("on_switch", "recache"), Parameter("sink_on_switch", "reanchor"), Prompt("six")],
    21: [Cut(), Seed(5), Prompt("seven")],
    23: [Parameter("on_switch", "clear"), Prompt("eight")],
}


def roll(model: Model, chunks: int, cues: dict[int, list[Cue]], size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """Return the clean latents of a take [1, C, F, h, w]."""
    state = model.generator.new_take(0, *size)
    out = []
    for i in range(chunks):
        out.append(model.generator.draw(state, cues.get(i, [])))
        model.generator.commit(state)
    return torch.cat(out, 2)


@functools.cache
def tiny_store() -> Store:
    """Build the tiny model's ONNX engines in float32 and INT8 once. Tests that damage something copy them first."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = Store(folder)
    for variant in (FP32, INT8):
        build(tiny_model(), variant, store, lambda text: None)
    return store
