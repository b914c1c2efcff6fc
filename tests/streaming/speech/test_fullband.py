"""Test the voice at 48 kHz: raw sound of any rate in pieces of any length, and the samples that drive the mouth."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import pcm, warble
from speakers import as_samples, tone

from models import driving_signal
from streaming.speech.audio_file import read
from streaming.speech.fullband import (
    RATE,
    REACH,
    DrivingSamples,
    PcmError,
    PcmReader,
    driving_samples,
    quantised,
)
from streaming.speech.soundtrack import Soundtrack, driving_sound

NOISE = np.random.default_rng(0).integers(-32768, 32767, 9_001).astype(np.int16)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=12))
def test_raw_sound_is_the_same_at_48_khz_however_its_bytes_are_split(rate: int, cuts: list[int]) -> None:
    data, one, many = NOISE.astype("<i2").tobytes(), PcmReader(rate), PcmReader(rate)
    whole = np.concatenate([one.add(data), one.rest()])
    split = np.concatenate([*(many.add(piece) for piece in pieces_of(data, cuts)), many.rest()])
    assert np.array_equal(whole, split)
    assert len(whole) == len(NOISE) * RATE // rate
    assert one.samples == many.samples == len(NOISE)


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_raw_sound_keeps_its_pitch_loudness_and_time(rate: int) -> None:
    reader = PcmReader(rate)
    heard = np.concatenate([reader.add(as_samples(tone(1, 440, rate=rate)).astype("<i2").tobytes()), reader.rest()])
    assert np.abs(heard[2400:-2400] - as_samples(tone(1, 440))[2400:-2400].astype(int)).max() <= 4


@pytest.mark.parametrize("rate", [7_999, 48_001])
def test_raw_sound_of_another_rate_is_refused(rate: int) -> None:
    with pytest.raises(PcmError, match=f"{rate} samples a second; send 8000 to 48000"):
        PcmReader(rate)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, len(NOISE)), max_size=8))
def test_the_mouth_hears_the_same_however_the_voice_arrives(cuts: list[int]) -> None:
    derived, edges = DrivingSamples(), [0, *sorted(cuts), len(NOISE)]
    split = np.concatenate([derived.add(NOISE[a:b]) for a, b in itertools.pairwise(edges)])
    whole = NOISE[: len(NOISE) // 3 * 3]
    assert np.array_equal(split, driving_samples(whole, np.zeros(REACH, np.int16)))


def test_the_mouth_hears_speech_undamped_and_nothing_above_8_khz() -> None:
    def level(hertz: float) -> float:
        driven = driving_samples(as_samples(tone(1, hertz)), np.zeros(REACH, np.int16))[1000:]
        return 20 * np.log10(np.sqrt(np.square(driven.astype(float)).mean()) / (0.3 * 32767 / np.sqrt(2)) + 1e-6)

    assert max(abs(level(hertz)) for hertz in (100, 1000, 4000, 6000)) < 0.2
    assert max(level(hertz) for hertz in (9000, 12_000, 20_000)) < -40


def test_the_file_of_a_take_drives_it_as_the_live_voice_did(tmp_path: Path) -> None:
    track, voice = Soundtrack(tmp_path / "a.wav"), NOISE[:9000]
    for at in range(0, 9000, 1500):
        track.add(voice[at : at + 1500])
    track.close()
    expected = driving_samples(voice, np.zeros(REACH, np.int16))
    assert np.array_equal(quantised(np.concatenate(list(driving_sound(tmp_path / "a.wav")))), expected)


def test_the_file_of_an_earlier_take_drives_it_sample_by_sample(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(pcm(warble(2, driving_signal.RATE), driving_signal.RATE))
    read_plainly = np.concatenate(list(read(tmp_path / "a.wav")))
    assert np.array_equal(np.concatenate(list(driving_sound(tmp_path / "a.wav"))), read_plainly)
