"""Test that the benchmark attributes time to the part of a chunk that took it."""

from __future__ import annotations

import time

import pytest
from conftest import tiny_model

from models.cache import RingCache
from models.rope import Rotation
from streaming import benchmark


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
