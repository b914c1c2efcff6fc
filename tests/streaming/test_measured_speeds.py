"""Test that a speed is known only if it was measured on this machine for that model and type of device."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streaming.measured_speeds import MeasuredSpeeds


def test_the_newest_speed_is_stored_for_its_model_and_device_only(tmp_path: Path) -> None:
    speeds = MeasuredSpeeds(tmp_path / "models")
    assert speeds.of("pocket", "cpu") is None
    speeds.add("pocket", "cpu", 31.25, "bench")
    speeds.add("pocket", "cpu", 33.33, "session")
    got = MeasuredSpeeds(tmp_path / "models").of("pocket", "cpu")
    assert got is not None
    assert (got.fps, got.by) == (33.3, "session")
    assert speeds.of("pocket", "cuda") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"pocket cpu": 5}', json.dumps({"pocket": 3})])
def test_a_damaged_file_counts_as_empty_and_is_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "speeds.json").write_text(text)
    assert MeasuredSpeeds(tmp_path).of("pocket", "cpu") is None
    MeasuredSpeeds(tmp_path).add("pocket", "cpu", 20, "bench")
    assert MeasuredSpeeds(tmp_path).of("pocket", "cpu") is not None
