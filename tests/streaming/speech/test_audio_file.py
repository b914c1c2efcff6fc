"""Sound files of every kind become 16 kHz mono, or are refused in one line."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from models.driving_signal import LEVEL
from streaming.speech.audio_file import Levelling, SpeechError, read


def tone(path: Path, rate: int, channels: int = 1, seconds: float = 1.0, level: float = 0.5) -> Path:
    t = np.arange(int(rate * seconds)) / rate
    samples = np.repeat(np.sin(2 * np.pi * 440 * t)[:, None], channels, 1) * level
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
    return path


def pitch(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * 16_000 / len(sound))


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 1), (44_100, 2), (96_000, 2), (48_000, 6)])
def test_any_rate_and_any_channels_are_the_same_sound(tmp_path: Path, rate: int, channels: int) -> None:
    sound = np.concatenate(list(read(tone(tmp_path / "a.wav", rate, channels))))
    assert abs(len(sound) - 16_000) < 400
    assert abs(pitch(sound) - 440) < 2
    assert 0.2 < np.abs(sound).max() <= (0.75 if channels < 6 else 1)


def test_a_clipped_file_stays_within_range(tmp_path: Path) -> None:
    sound = np.concatenate(list(read(tone(tmp_path / "a.wav", 44_100, level=9.0))))
    assert np.abs(sound).max() <= 1


def test_a_file_that_breaks_off_gives_what_is_there(tmp_path: Path) -> None:
    file = tone(tmp_path / "a.wav", 16_000, seconds=2)
    file.write_bytes(file.read_bytes()[:32_000])
    assert 15_000 < len(np.concatenate(list(read(file)))) <= 16_000


def test_an_hour_is_read_piece_by_piece(tmp_path: Path) -> None:
    file = tone(tmp_path / "a.wav", 8000, seconds=3600)
    longest, heard = 0, 0
    for piece in read(file):
        longest, heard = max(longest, len(piece)), heard + len(piece)
    assert abs(heard / 16_000 - 3600) < 1
    assert longest < 16_000


@pytest.mark.parametrize("content", [b"", b"not a sound", b"RIFF\x00\x00\x00\x00WAVE", bytes(5000)])
def test_what_is_no_sound_is_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(content)
    with pytest.raises(SpeechError, match=r"a\.wav") as e:
        list(read(file))
    assert "\n" not in str(e.value)


def test_no_samples_and_no_file_and_no_sound_are_said(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="empty"):
        list(read(tone(tmp_path / "a.wav", 16_000, seconds=0)))
    with pytest.raises(SpeechError, match="No such file"):
        list(read(tmp_path / "none.wav"))
    import cv2

    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SpeechError, match="not a sound"):
        list(read(tmp_path / "p.png"))


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5, 1.0])
def test_speech_is_brought_to_one_level_and_pauses_do_not_count(tmp_path: Path, level: float) -> None:
    sound = np.concatenate(list(read(tone(tmp_path / "a.wav", 16_000, level=level))))
    quiet = np.zeros(80_000, np.float32)
    levelling = Levelling()
    for piece in (quiet, sound, quiet):
        levelling.add(piece)
    assert levelling.samples == 160_000 + len(sound)
    assert abs(20 * np.log10(levelling.gain * np.sqrt(np.mean(sound.astype(float) ** 2))) - LEVEL) < 0.3


def test_silence_and_whispers_are_not_blown_up() -> None:
    levelling = Levelling()
    levelling.add(np.full(16_000, 1e-4, np.float32))
    assert levelling.gain == 1
    levelling.add(np.full(16_000, 4e-3, np.float32))
    assert levelling.gain == pytest.approx(10)
