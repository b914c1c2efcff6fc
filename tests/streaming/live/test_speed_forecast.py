"""Test that the speed of a session is predicted from its model and size, by what was measured on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.catalog import AVATAR, LONGLIVE, POCKET
from streaming.live.speed_forecast import UNKNOWN, SpeedForecast
from streaming.measured_speeds import MeasuredSpeeds

# real-time factors of pocket by size, medians of six chunks with a full window on a machine of two cores
MEASURED = {32: 0.094, 64: 0.168, 128: 0.286, 192: 0.510, 256: 0.925, 384: 2.412}


@pytest.mark.parametrize("known", MEASURED)
def test_the_speed_at_any_size_is_predicted_from_one_that_was_measured(known: int) -> None:
    forecast = SpeedForecast()
    forecast.measured(POCKET, (known, known), MEASURED[known])
    for size, measured in MEASURED.items():
        assert 0.6 < forecast.factor(POCKET, (size, size)) / measured < 1.6
    assert forecast.factor(POCKET, (known, known)) == MEASURED[known]


def test_the_nearest_measured_size_tells_most_and_the_newest_measurement_counts() -> None:
    forecast = SpeedForecast()
    for size in (32, 256):
        forecast.measured(POCKET, (size, size), MEASURED[size])
    assert forecast.factor(POCKET, (192, 192)) == pytest.approx(MEASURED[192], rel=0.1)
    forecast.measured(POCKET, (256, 256), 2 * MEASURED[256])
    assert forecast.factor(POCKET, (192, 192)) == pytest.approx(2 * MEASURED[192], rel=0.1)


def test_steps_and_window_count() -> None:
    forecast = SpeedForecast()
    forecast.measured(POCKET, (256, 256), 0.5)
    other = replace(POCKET, name="other")
    base = forecast.factor(replace(other, rollout=replace(POCKET.rollout, window=24)), (512, 512))
    assert base > forecast.factor(other, (512, 512))
    costly = replace(LONGLIVE, rollout=replace(LONGLIVE.rollout, schedule=POCKET.rollout.schedule))
    assert forecast.factor(LONGLIVE, LONGLIVE.size) == pytest.approx(5 / 3 * forecast.factor(costly, LONGLIVE.size))


@pytest.mark.parametrize("known", [None, 0.5])
def test_a_model_that_was_never_measured_is_taken_to_need_much(known: float | None) -> None:
    cpu, gpu = SpeedForecast(), SpeedForecast(device="cuda")
    for forecast in (cpu, gpu) if known else ():
        forecast.measured(POCKET, POCKET.size, known or 0.0)
    assert cpu.factor(AVATAR, AVATAR.size) >= UNKNOWN
    assert cpu.factor(LONGLIVE, LONGLIVE.size) > 50  # no CPU draws it in real time
    assert gpu.factor(LONGLIVE, LONGLIVE.size) == UNKNOWN  # a small model's speed on a GPU tells nothing of it
    assert gpu.factor(AVATAR, (64, 64)) < UNKNOWN


def test_speeds_that_were_stored_count_until_this_run_measures(tmp_path: Path) -> None:
    speeds = MeasuredSpeeds(tmp_path)
    speeds.add("pocket", "cpu", 32, "bench")
    speeds.add("pocket", "cpu", 160, "session", (32, 32))
    speeds.add("unknown", "cpu", 1, "session")
    forecast = SpeedForecast(speeds, "cpu")
    assert forecast.factor(POCKET, (256, 256)) == 0.5
    assert forecast.factor(POCKET, (32, 32)) == 0.1
    assert SpeedForecast(speeds, "cuda").factor(POCKET, (256, 256)) == UNKNOWN
    forecast.measured(POCKET, (32, 32), 0.2)
    assert forecast.factor(POCKET, (32, 32)) == 0.2
