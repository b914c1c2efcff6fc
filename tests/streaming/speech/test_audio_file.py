"""Test that the voice in a sound file is used despite an offset, channels of opposite phase, silence or whispers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from sounds import pcm, warble, wav

from models.driving_signal import LEVEL, log_mel
from streaming.speech.audio_file import Levelling, SpeechError, Voice, voice_in, whole
from streaming.speech.voice_mix import plain_mix

LEFT = warble(3, 16_000)
OTHER = warble(3, 16_000, loud=0.2)[::-1]


def voice_of(sound: np.ndarray, rate: int = 16_000) -> Voice:
    """Return the voice that is read from a file of floats, [samples] or [samples, channels]."""
    return voice_in(io.BytesIO(wav(np.ascontiguousarray(sound, "<f4"), rate, tag=3)))


def heard(voice: Voice) -> np.ndarray:
    """Return the driving features [frames, 64] of a sound."""
    return log_mel(np.concatenate(list(voice.pieces())))


def level(sound: np.ndarray) -> float:
    """Return the level of the blocks that have speech, in dBFS."""
    power = np.square(sound[: len(sound) // 320 * 320].reshape(-1, 320).astype(float)).mean(1)
    return float(10 * np.log10(power[power > 1e-5].mean()))


@pytest.mark.parametrize("constant", [-0.6, -0.1, 0.01, 0.3])
def test_a_constant_offset_does_not_change_the_driving_features(constant: float) -> None:
    voice = voice_of(LEFT + np.float32(constant))
    assert voice.notes == ("the sound: a constant offset (DC) was removed",)
    assert np.abs(heard(voice) - heard(voice_of(LEFT))).mean() < 0.01
    assert abs(level(np.concatenate(list(voice.pieces()))) - LEVEL) < 0.5


def test_a_slow_oscillation_is_not_a_voice() -> None:
    swing = (0.4 * np.sin(2 * np.pi * 0.7 * np.arange(48_000) / 16_000)).astype(np.float32)
    assert np.abs(heard(voice_of(LEFT + swing)) - heard(voice_of(LEFT))).mean() < 0.05


def test_a_constant_alone_is_silence() -> None:
    voice = voice_of(np.full(48_000, 0.5, np.float32))
    assert not np.concatenate(list(voice.pieces())).any()
    assert "the sound: no speech was found: the sound is never louder than -50 dBFS" in voice.notes


MIXES = {
    "opposite phases": (np.stack([LEFT, -LEFT], 1), True),
    "nearly opposite phases": (np.stack([LEFT, -0.97 * LEFT], 1), True),
    "opposite phases from the middle on": (
        np.stack([LEFT, np.where(np.arange(48_000) < 24_000, LEFT, -LEFT)], 1),
        True,
    ),
    "opposite phases in 5.1": (np.stack([LEFT, -LEFT, 0 * LEFT, 0 * LEFT, 0 * LEFT, 0 * LEFT], 1), True),
    "opposite phases and a constant": (np.stack([LEFT + 0.2, 0.2 - LEFT], 1), True),
    "equal channels": (np.stack([LEFT, LEFT], 1), False),
    "one side": (np.stack([0 * LEFT, LEFT], 1), False),
    "the middle of 5.1": (np.stack([0 * LEFT, 0 * LEFT, LEFT, 0 * LEFT, 0 * LEFT, 0 * LEFT], 1), False),
}


@pytest.mark.parametrize("how", MIXES)
def test_channels_do_not_cancel_the_voice(how: str) -> None:
    channels, cancel = MIXES[how]
    voice = voice_of(channels)
    assert np.abs(heard(voice) - heard(voice_of(LEFT))).mean() < 0.06
    assert abs(level(np.concatenate(list(voice.pieces()))) - LEVEL) < 0.7
    assert any("cancel" in note for note in voice.notes) == cancel


def test_two_voices_on_two_sides_are_both_heard() -> None:
    voice = voice_of(np.stack([LEFT, OTHER], 1))
    both = heard(voice_of(LEFT + OTHER))
    assert np.abs(heard(voice) - both).mean() < 0.02
    assert voice.notes == ()


def test_surround_sound_is_mixed_as_itu_r_bs_775_says_and_without_its_effects_channel() -> None:
    mixed = plain_mix(("FL", "FR", "FC", "LFE", "BL", "BR"))
    assert mixed / mixed[2] == pytest.approx([0.5**0.5, 0.5**0.5, 1, 0, 0.5, 0.5])
    assert mixed.sum() == pytest.approx(1)
    assert plain_mix(("FL", "FR")) == pytest.approx([0.5, 0.5])
    assert plain_mix(("LFE",)) == pytest.approx([1])


def test_every_reading_gives_the_same_pieces_and_the_counted_samples() -> None:
    voice = voice_of(np.stack([LEFT + 0.1, 0.1 - LEFT], 1).repeat(3, 0), 48_000)
    first, second = (np.concatenate(list(voice.pieces())) for _ in range(2))
    assert (first == second).all()
    assert len(first) == voice.samples == 48_000


def test_different_sounds_have_different_names_and_equal_sounds_the_same() -> None:
    names = [voice_of(s).name for s in (LEFT, LEFT, OTHER, np.stack([LEFT, -LEFT], 1), np.stack([-LEFT, LEFT], 1))]
    assert names[0] == names[1]
    assert len(set(names)) >= 3


def test_a_sound_that_is_too_long_is_refused() -> None:
    with pytest.raises(SpeechError, match="longer than 2 seconds; send it in parts"):
        whole(io.BytesIO(pcm(warble(3, 16_000), 16_000)), 2)
    sound, notes = whole(io.BytesIO(pcm(warble(2, 16_000), 16_000)), 2)
    assert len(sound) == 96_000
    assert notes == ()


@pytest.mark.parametrize("loud", [0.02, 0.1, 0.5, 1.0])
def test_speech_is_brought_to_one_level_whatever_its_pauses(loud: float) -> None:
    sound = (loud * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
    quiet = np.zeros(80_000, np.float32)
    levelling = Levelling()
    for piece in (quiet, sound, quiet):
        levelling.add(piece)
    assert levelling.samples == 160_000 + len(sound)
    assert abs(20 * np.log10(levelling.gain * np.sqrt(np.mean(sound.astype(float) ** 2))) - LEVEL) < 0.3
    voice = voice_of(np.concatenate([quiet, sound, quiet]))
    assert abs(level(np.concatenate(list(voice.pieces()))) - LEVEL) < 0.5


def test_silence_and_whispers_are_amplified_by_a_limited_gain() -> None:
    levelling = Levelling()
    levelling.add(np.full(16_000, 1e-4, np.float32))
    assert levelling.gain == 1
    levelling.add(np.full(16_000, 4e-3, np.float32))
    assert levelling.gain == pytest.approx(10)
