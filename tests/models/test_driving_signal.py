"""A signal hears the same however the sound comes, knows silence, and gives every latent its six frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.driving_signal import FEATURES, FRAME, HEARD, RATE, SILENCE, TOKENS, DrivingSignal, log_mel


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    return (0.2 * rng.standard_normal(n) * (1 + np.sin(np.arange(n) / 900)) / 2).astype(np.float32)


def near(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.abs(a - b).max() < 1e-6)


@given(cuts=st.lists(st.integers(0, 3 * RATE), max_size=12), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_heard_piecewise_equals_heard_at_once(cuts: list[int], seed: int) -> None:
    audio, whole, pieces = sound(3, seed), DrivingSignal(), DrivingSignal()
    whole.hear(audio)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(audio)], strict=True):
        pieces.hear(audio[begin:end])
    assert pieces.heard == len(audio)
    assert near(whole.latents(0, 20), pieces.latents(0, 20))
    assert near(whole.latents(1, 17)[:, 0], log_mel(audio)[0:68:4])


def test_features_are_causal() -> None:
    a, b = sound(1), sound(1)
    b[10 * FRAME :] = sound(1, 1)[10 * FRAME :]
    same = (log_mel(a) == log_mel(b)).all(1)
    assert same[:10].all()
    assert not same[10:].any()


def test_a_latent_hears_the_frames_it_shows_and_one_on_each_side() -> None:
    audio = np.zeros(40 * FRAME, np.float32)
    audio[17 * FRAME : 18 * FRAME] = 0.5 * np.sin(np.arange(FRAME))  # frame 17
    signal = DrivingSignal()
    signal.hear(audio)
    loud = signal.latents(0, 10)[:, :HEARD].max(2) > -0.5
    # frame 17 is shown by latent 5 (17 … 20), heard by it as second, and by latent 4 (12 … 17) as last
    assert set(zip(*np.nonzero(loud), strict=True)) >= {(5, 1), (4, 5)}
    # its last 12 ms still stand in the first column of frame 18, which latent 4 does not hear
    assert set(zip(*np.nonzero(loud), strict=True)) <= {(5, 1), (4, 5), (5, 2)}


def test_latent_zero_hears_two_frames_and_silence_before_the_take() -> None:
    signal = DrivingSignal()
    signal.hear(sound(1))
    first = signal.latents(0, 1)[0]
    assert (first[:4] == SILENCE).all()
    assert near(first[4:6], log_mel(sound(1))[:2])


def test_a_tone_reads_its_level_in_its_band() -> None:
    audio = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)).astype(np.float32)
    column = log_mel(audio)[10][:32]
    centre = 2595 * np.log10(1 + np.array([60, 1000, 7600]) / 700)
    assert abs(column.argmax() + 1 - 33 * (centre[1] - centre[0]) / (centre[2] - centre[0])) < 1
    quieter = log_mel(audio / 10)[10][:32]
    assert column.max() - quieter.max() == pytest.approx(20 / 40, abs=0.01)


@pytest.mark.parametrize("audio", [np.zeros(RATE), np.full(RATE, 1e-7), np.ones(RATE), np.tile([1.0, -1.0], RATE // 2)])
def test_odd_sounds_give_finite_features_in_range(audio: np.ndarray) -> None:
    features = log_mel(audio.astype(np.float32))
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert SILENCE <= features.min() <= features.max() <= 1


def test_past_the_end_there_is_silence_and_the_rest_of_the_last_frame_counts() -> None:
    signal, padded = DrivingSignal(), DrivingSignal()
    audio = sound(1)[: 10 * FRAME + 250]
    signal.hear(audio)
    padded.hear(np.concatenate([audio, np.zeros(40 * FRAME, np.float32)]))
    assert near(signal.latents(0, 8), padded.latents(0, 8))
    assert (signal.latents(10, 50)[:, :HEARD] == SILENCE).all()
    assert (DrivingSignal().latents(0, 3)[:, :HEARD] == SILENCE).all()


def test_ready_counts_latents_that_have_heard_everything() -> None:
    signal = DrivingSignal()
    assert signal.ready == 0
    for frame, ready in [(1, 0), (2, 1), (5, 1), (6, 2), (9, 2), (10, 3)]:
        signal.hear(np.zeros(frame * FRAME - signal.heard, np.float32))
        assert signal.ready == ready


def test_sound_that_comes_late_leaves_a_gap_of_silence() -> None:
    late, whole = DrivingSignal(), DrivingSignal()
    a, b = sound(1), sound(1, 1)
    late.hear(a)
    late.hear(b, at=3 * RATE)
    whole.hear(np.concatenate([a, np.zeros(2 * RATE, np.float32), b]))
    assert near(late.latents(0, 25), whole.latents(0, 25))
    with pytest.raises(ValueError, match="begins at sample 0, but 64000"):
        late.hear(a, at=0)


@given(at=st.integers(3 * RATE, 6 * RATE - 1))
@settings(max_examples=20, deadline=None)
def test_what_is_hushed_was_never_said(at: int) -> None:
    signal, never = DrivingSignal(), DrivingSignal()
    audio = sound(6)
    signal.hear(audio)
    signal.hush(at)
    never.hear(audio[:at])
    assert signal.heard == at
    assert near(signal.latents(0, 40), never.latents(0, 40))
    signal.hear(sound(1, 2))
    never.hear(sound(1, 2))
    assert near(signal.latents(0, 40), never.latents(0, 40))


@given(begin=st.integers(0, 3 * RATE), length=st.integers(1, 2 * RATE))
@settings(max_examples=20, deadline=None)
def test_what_is_muted_was_silence(begin: int, length: int) -> None:
    signal, silent = DrivingSignal(), DrivingSignal()
    audio = sound(4)
    signal.hear(audio)
    signal.mute(begin, begin + length)
    audio[begin : begin + length] = 0
    silent.hear(audio)
    assert signal.heard == 4 * RATE
    assert near(signal.latents(0, 30), silent.latents(0, 30))


def test_only_the_last_seconds_can_be_hushed() -> None:
    signal = DrivingSignal()
    signal.hear(sound(20))
    signal.hush(25 * RATE)
    with pytest.raises(ValueError, match="too long ago"):
        signal.hush(5 * RATE)
    signal.forget(100)
    with pytest.raises(ValueError, match="too long ago"):
        signal.hush(396 * FRAME - 1)


def test_what_is_forgotten_is_gone_and_the_rest_stays() -> None:
    signal, whole = DrivingSignal(), DrivingSignal()
    for d in (signal, whole):
        d.hear(sound(10))
    signal.forget(40)
    assert (signal.latents(40, 30) == whole.latents(40, 30)).all()
    with pytest.raises(ValueError, match="latent 39 has been forgotten"):
        signal.latents(39, 1)
    signal.hear(sound(1, 3))
    whole.hear(sound(1, 3))
    assert (signal.latents(40, 40) == whole.latents(40, 40)).all()


def test_the_last_token_is_zero_whatever_is_heard() -> None:
    signal = DrivingSignal()
    signal.hear(sound(2))
    tokens = signal.latents(0, 6)
    assert tokens.shape == (6, TOKENS, FEATURES)
    assert tokens[:, :HEARD].any(-1).all()
    assert not tokens[:, HEARD:].any()


@pytest.mark.parametrize("audio", [np.zeros((2, 8)), np.array([0.0, np.nan]), np.array([np.inf])])
def test_sound_that_is_none_is_refused(audio: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite and mono"):
        DrivingSignal().hear(audio.astype(np.float32))


def test_nothing_heard_changes_nothing() -> None:
    signal = DrivingSignal()
    signal.hear(np.zeros(0, np.float32))
    assert signal.heard == 0
    assert signal.latents(7, 0).shape == (0, TOKENS, FEATURES)
