"""Test that a speed is known only if it was measured on this machine for that model and type of device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming.measured_speeds import MOST_SIZES, MeasuredSpeeds

SPEED = {"fps": 3, "by": "bench", "on": "2026-01-01"}
BAD_KEYS = [json.dumps({key: SPEED}) for key in ("pocket", "pocket cpu big", "pocket cpu 1x2x3", "pocket cpu 32x32 x")]


def test_the_newest_speed_is_stored_for_its_model_and_device_only(tmp_path: Path) -> None:
    speeds = MeasuredSpeeds(tmp_path / "models")
    assert speeds.of("pocket", "cpu") is None
    speeds.add("pocket", "cpu", 31.25, "bench")
    speeds.add("pocket", "cpu", 33.33, "session")
    got = MeasuredSpeeds(tmp_path / "models").of("pocket", "cpu")
    assert got is not None
    assert (got.fps, got.by) == (33.3, "session")
    assert speeds.of("pocket", "cuda") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pocket cpu": 5}', json.dumps({"pocket": 3}), *BAD_KEYS])
def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "speeds.json").write_text(text)
    assert MeasuredSpeeds(tmp_path).of("pocket", "cpu") is None
    MeasuredSpeeds(tmp_path).add("pocket", "cpu", 20, "bench")
    assert MeasuredSpeeds(tmp_path).of("pocket", "cpu") is not None


def test_sizes_are_stored_apart_and_a_bounded_number_of_them(tmp_path: Path) -> None:
    speeds = MeasuredSpeeds(tmp_path)
    speeds.add("pocket", "cpu", 30, "bench")
    speeds.add("pocket", "cuda", 900, "bench", (512, 512))
    for size in range(32, 32 * 41, 32):
        speeds.add("pocket", "cpu", 10_000 / size, "session", (size, size))
    own = speeds.of("pocket", "cpu")
    assert own is not None
    assert own.fps == 30
    stored = speeds.on("cpu")
    assert len(stored) == 1 + MOST_SIZES
    assert stored["pocket", (1280, 1280)].fps == 7.81
    assert ("pocket", (32, 32)) not in stored  # the oldest made room
    assert list(speeds.on("cuda")) == [("pocket", (512, 512))]
    speeds.add("pocket", "cpu", 0.001234, "session", (1280, 1280))
    assert speeds.on("cpu")["pocket", (1280, 1280)].fps == 0.00123
