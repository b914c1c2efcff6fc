"""Torch runs models in the precision that is faster on this processor, or in the one that is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from torch.nn import functional as F

from app import loaded_model
from app.bfloat16_speed import bfloat16_pays
from app.loaded_model import load_model, precision_of
from app.model_library import ModelLibrary
from exporters.parity import psnr
from models.catalog import AVATAR, POCKET
from models.checkpoints.assemble import random_model
from models.codecs.tiny import TinyCodec
from models.cue import Prompt
from models.pocket.world.portrait.gallery import GALLERY, drawn
from models.transformer import CausalWanTransformer
from streaming.live.device import DeviceThread
from streaming.rollout import Rollout, record_of
from streaming.speech.portrait_drive import PortraitDrive
from streaming.take.take_file import CueLine, Take

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("engine", "pays", "precision"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("torch", True, torch.bfloat16),
        ("torch", False, torch.float32),
        ("torch:fp32", True, torch.float32),
        ("torch:bf16", False, torch.bfloat16),
    ],
)
def test_the_precision_is_the_one_asked_for_or_the_faster_one(
    monkeypatch: pytest.MonkeyPatch, engine: str, pays: bool, precision: torch.dtype
) -> None:
    bfloat16_pays.cache_clear()
    monkeypatch.setattr("app.bfloat16_speed.bfloat16_pays", lambda: pays)
    assert precision_of(CPU, engine) is precision


def test_random_weights_of_a_codec_have_the_precision_of_those_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A speed that is measured without files is the speed with them: off the CPU codecs decode in float32."""
    forked: list[object] = []

    @contextmanager
    def fork_rng(devices: object = None) -> Iterator[None]:
        forked.append(devices)
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork_rng)
    for where, decoder in (("cpu", torch.bfloat16), ("meta", torch.float32)):
        codec = random_model(AVATAR, torch.device(where), torch.bfloat16).generator.codec
        assert isinstance(codec, TinyCodec)
        assert (codec.decodes_in, codec.mean.dtype) == (decoder, torch.float32)
    assert forked == [[], []], "no card is set up for a model that lies elsewhere"


def test_whether_bfloat16_pays_is_measured_once() -> None:
    bfloat16_pays.cache_clear()
    assert bfloat16_pays() is bfloat16_pays()
    assert bfloat16_pays.cache_info().misses == 1


@pytest.mark.parametrize(
    ("products", "convolutions", "pays"),
    [(3.0, 3.0, True), (1.5, 1.5, True), (1.3, 1.3, False), (3.0, 0.5, False), (0.5, 3.0, False), (0.4, 9.0, False)],
)
def test_bfloat16_pays_where_products_and_convolutions_together_are_1_4_times_as_fast(
    monkeypatch: pytest.MonkeyPatch, products: float, convolutions: float, pays: bool
) -> None:
    """Count by a clock that only they turn: float32 takes a second for each, and other work comes between at times."""
    now, busy = [0.0], itertools.cycle([5.0, 0.0, 3.0])

    def takes(times_as_fast: float) -> Callable[..., torch.Tensor]:
        def run(a: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            now[0] += (1 / times_as_fast if a.dtype == torch.bfloat16 else 1.0) + next(busy)
            return a

        return run

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(F, "linear", takes(products))
    monkeypatch.setattr(F, "conv2d", takes(convolutions))
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    bfloat16_pays.cache_clear()
    assert bfloat16_pays() is pays
    bfloat16_pays.cache_clear()


@pytest.mark.parametrize(("capability", "noted"), [("AVX2", True), ("AVX512", False)])
def test_a_processor_that_emulates_bfloat16_is_not_measured_and_noted_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], capability: str, noted: bool
) -> None:
    bfloat16_pays.cache_clear()
    measured = list[str]()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(F, "linear", lambda a, _: measured.append(str(a.dtype)) or a)
    bfloat16_pays()
    bfloat16_pays.cache_clear()
    assert (measured == []) is noted
    for engine in ("torch:bf16", "torch:fp32", "torch"):
        loaded_model.readings(lambda _: tiny_model(), CPU, engine)
        assert ("no bfloat16 arithmetic" in capsys.readouterr().err) is (noted and engine == "torch:bf16")


def test_frames_in_bfloat16_look_like_those_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "engines_folder", lambda: Path("nowhere"))
    films = {}
    for engine in ("torch:fp32", "torch:bf16"):
        model = load_model(POCKET, "cpu", engine)
        codec = model.generator.codec
        assert isinstance(codec, TinyCodec)
        assert next(codec.encoder.parameters()).dtype is torch.float32
        state = model.generator.new_take(5, 64, 64)
        latents = model.generator.draw(state, [Prompt("a large red ball bounces over the meadow by day")])
        films[engine] = latents, state.codec.decode(latents)
        assert record_of(model, CPU)["precision"] == {"torch:fp32": "float32", "torch:bf16": "bfloat16"}[engine]
    (exact, plain), (rounded, fast) = films.values()
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05
    assert psnr(plain, fast) > 30


def test_an_avatar_is_driven_in_bfloat16_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_model, "engines_folder", lambda: Path("nowhere"))
    films = []
    for engine in ("torch:fp32", "torch:bf16"):
        model = load_model(AVATAR, "cpu", engine)
        take = Take(model=AVATAR.name, cues=[CueLine(prompt="a face")])
        rollout = Rollout(model, take, drive=PortraitDrive(model, drawn(GALLERY["ada"])))
        rollout.step()
        films.append(torch.from_numpy(np.stack(rollout.settle().frames)))
    assert psnr(*films) > 25


@pytest.mark.asyncio
async def test_a_background_render_draws_in_the_precision_of_its_server(tmp_path: Path) -> None:
    model, thread = tiny_model(), DeviceThread()
    assert isinstance(model.generator.transformer, CausalWanTransformer)
    model.generator.transformer.to(torch.bfloat16)
    model = replace(model, generator=model.generator.with_config(model.generator.config))
    library = ModelLibrary(tmp_path, CPU, thread, load=lambda *_: model)
    await library.load("pocket")
    assert library.engine_of_render("pocket") == "torch:bf16"
    thread.close()
