"""Test that the benchmark attributes time to the part of a chunk that took it."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_model

from models.cache import RingCache
from models.checkpoints.assemble import Model
from models.rope import Rotation
from streaming import benchmark, benchmark_comparison
from streaming.rollout import Rollout


def test_a_recache_is_measured_apart_from_denoising(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = RingCache.begin_recache

    def slowly(cache: RingCache, first: int, latents: int) -> Rotation:
        time.sleep(0.2)  # longer than all else, so that it shows where a recache is counted
        return begin(cache, first, latents)

    monkeypatch.setattr(RingCache, "begin_recache", slowly)
    result = benchmark.measure(tiny_model(), (32, 32), 8, 6)
    assert set(result.median) == set(benchmark.PARTS)
    assert result.median["recache"] >= 0.2
    assert result.median["denoise"] < 0.2  # of all chunks, those with a switch included
    assert all(low >= 0 for low, _ in result.spread.values())
    assert "| recache | 2" in benchmark.as_markdown(result, tiny_model(), (32, 32), random_weights=True)


def test_a_second_card_is_waited_for_and_its_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model, card, asked = tiny_model(), torch.device("cuda", 1), set[object]()

    def noted(device: object = None) -> int:
        asked.add(device)
        return 0

    for name in ("synchronize", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, noted)
    monkeypatch.setattr(benchmark, "Rollout", lambda _, take, drive: Rollout(model, take))  # there is no card here
    made = torch.randn
    monkeypatch.setattr(
        torch, "randn", lambda *shape, **how: torch.ones(2, 2) if how.get("device") == card else made(*shape, **how)
    )
    on_card = SimpleNamespace(device=card, dtype=torch.float32, text=model.generator.text)
    benchmark.measure(replace(model, generator=on_card), (32, 32), 1, 6)
    assert asked == {card}


def test_two_engines_are_measured_in_turns_and_compared_by_the_medians_of_their_ratios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast, slow, order = tiny_model(), tiny_model(), []
    speeds = {id(fast): iter((20.0, 30.0, 44.0)), id(slow): iter((10.0, 10.0, 11.0))}

    def measured(model: Model, size: object, chunks: int, text_length: int) -> benchmark.Result:
        order.append(model is fast)
        fps = next(speeds[id(model)])
        parts = dict.fromkeys(benchmark.PARTS, 1 / fps)
        return benchmark.Result(parts, {}, 2 * fps, fps, 0.0, 0.0, 1.0)

    monkeypatch.setattr(benchmark_comparison, "measure", measured)
    line = benchmark_comparison.compare(fast, slow, (32, 32), 4, 6).as_line("torch:bf16", "torch:fp32")
    assert order == [True, False, False, True, True, False]
    assert "torch:bf16 against torch:fp32, 3 rounds in turns: end to end 3.00x (2.00 – 4.00), loop 3.00x" in line
