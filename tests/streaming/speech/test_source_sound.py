"""The sound of a film that a take follows is heard with the pictures that it belongs to."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_model
from films import film

from streaming.speech.source_sound import RATE, parts_of, write_source_sound
from streaming.take.footage import TakeFootage
from streaming.take.take_file import parse

ENTRY = tiny_model().entry


def carried(folder: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Return the notes on the sound that a take of 45 frames carries of a film, and its samples."""
    take = parse(f"length: 12\ncues: [{{prompt: one, source: {name}}}]", "t.yaml")
    parts = parts_of(take, ENTRY.rollout.grid, ENTRY.fps, 45)
    footage, out = TakeFootage(ENTRY, (32, 32), folder), folder / "out.wav"
    notes = write_source_sound(parts, footage, 45, ENTRY.fps, out)
    footage.close()
    if not out.exists():
        return notes, np.zeros(0)
    with wave.open(str(out)) as sound:
        return notes, np.frombuffer(sound.readframes(sound.getnframes()), np.int16)[::2] / 32767


@pytest.mark.parametrize("late", [0.0, 1.0])
def test_sound_that_begins_behind_the_picture_does_so_in_the_take(late: float, tmp_path: Path) -> None:
    film(tmp_path / "a.mkv", frames=32, fps=16, sound=True, late=late)
    notes, sound = carried(tmp_path, "a.mkv")
    assert notes == []
    assert len(sound) == RATE * 45 // 16
    heard = np.flatnonzero(np.abs(sound) > 0.3) / RATE
    assert abs(heard[0] - late) < 0.1
    assert abs(heard[-1] - min(2 + late, 45 / 16)) < 0.1


@pytest.mark.parametrize("name", ["a.mpg", "a.ts"])
def test_an_mpeg_films_sound_is_carried(name: str, tmp_path: Path) -> None:
    film(tmp_path / name, frames=50, fps=25, sound=True)
    notes, sound = carried(tmp_path, name)
    assert notes == []
    assert np.abs(sound).max() > 0.3


def test_sound_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
    film(tmp_path / "b.mkv", frames=32, fps=16, sound=True)
    data = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data.replace(b"A_AAC", b"A_XXX"))
    notes, sound = carried(tmp_path, "b.mkv")
    assert [note[:31] for note in notes] == ["the sound of b.mkv is left out:"]
    assert len(sound) == 0
