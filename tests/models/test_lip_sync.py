"""The sync meter reads a lag that was put in, hears silence, and is not fooled by noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.judge import lip_sync as sync

FPS, RATE = 25, 16_000


def speech(seconds: float, seed: int = 0) -> tuple[sync.Sound, np.ndarray]:
    """Return noise in syllables of any length, with two pauses, and its loudness curve sampled at 16 kHz."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    knots = np.arange(0, seconds + 0.2, 0.11) + rng.uniform(-0.03, 0.03, len(np.arange(0, seconds + 0.2, 0.11)))
    curve = np.interp(np.arange(n) / RATE, knots, rng.random(len(knots)) ** 1.5)
    for start in (0.3, 0.7):
        curve[round(start * n) : round(start * n) + RATE] = 0
    curve = np.convolve(curve, np.hanning(801) / 400, mode="same")
    return (0.3 * 10 ** (1.6 * (curve - 1)) * (curve > 0.01) * rng.standard_normal(n)).astype(np.float32), curve


def mouth(curve: np.ndarray, late_ms: float, frames: int) -> np.ndarray:
    """Return the openness at the middle of every frame of a picture that is so late."""
    at = (np.arange(frames) + 0.5) / FPS - late_ms / 1000
    return np.interp(at, np.arange(len(curve)) / RATE, curve)


@given(late=st.floats(-300, 300), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_a_lag_is_read_with_its_sign(late: float, seed: int) -> None:
    sound, curve = speech(20, seed)
    found = sync.sync(mouth(curve, late, 500), sound)
    assert found.lag_ms == pytest.approx(late, abs=7)
    assert found.correlation > 0.8
    assert found.margin > 0.3


def test_eighty_milliseconds_late_are_eighty() -> None:
    sound, curve = speech(30)
    assert sync.sync(mouth(curve, 80, 750), sound).lag_ms == pytest.approx(80, abs=5)


def test_unit_and_offset_of_the_openness_do_not_matter() -> None:
    sound, curve = speech(10)
    o = mouth(curve, 40, 250)
    a, b = sync.sync(o, sound), sync.sync(7 - 3 * -o, sound)
    assert (a.lag_ms, a.correlation) == pytest.approx((b.lag_ms, b.correlation))


def test_a_mouth_that_does_its_own_thing_is_not_in_sync() -> None:
    sound, _ = speech(30)
    found = [sync.sync(mouth(speech(30, seed)[1], 0, 750), sound) for seed in range(10, 20)]
    # another person's syllables have the same pauses, and nothing else in common
    assert np.median([f.correlation for f in found]) < 0.55
    noise = [sync.sync(np.random.default_rng(s).random(750), sound) for s in range(10)]
    assert max(n.correlation for n in noise) < 0.25
    assert np.mean([n.margin < 0.05 for n in noise]) >= 0.7


def test_a_mouth_that_never_moves_has_no_correlation() -> None:
    sound, _ = speech(10)
    assert sync.sync(np.full(250, 0.4), sound).correlation == 0
    assert sync.sync(np.linspace(0, 1, 250), np.zeros(10 * RATE, np.float32)).correlation == 0


def test_clocks_that_run_apart_show_as_drift() -> None:
    sound, curve = speech(60, 2)
    at = (np.arange(1500) + 0.5) / FPS
    o = np.interp(at - 0.06 * at / 60, np.arange(len(curve)) / RATE, curve)
    found = sync.sync_over_time(o, sound)
    assert found.windows > 45
    assert found.drift_ms == pytest.approx(60, abs=8)
    assert found.lag_ms == pytest.approx(30, abs=8)
    steady = sync.sync_over_time(mouth(curve, 30, 1500), sound)
    assert steady.drift_ms == pytest.approx(0, abs=4)
    assert steady.spread_ms < 10


def test_nobody_speaks_then_there_is_no_lag() -> None:
    found = sync.sync_over_time(np.random.default_rng(0).random(250), np.zeros(10 * RATE, np.float32))
    assert found.windows == 0
    assert np.isnan(found.lag_ms)


def test_silence_is_found_and_the_mouth_in_it_compared() -> None:
    sound, _ = speech(20)
    rests = sync.silent(sound, 500)
    pause = round(0.3 * 500)
    assert rests[pause + 3 : pause + 22].all()
    assert not rests[pause - 20 : pause - 5].any()
    o = np.where(rests, 0.1, 0.4)
    assert sync.silence_ratio(o, sound) == pytest.approx(0.25)
    assert np.isnan(sync.silence_ratio(o, np.zeros(20 * RATE, np.float32)))


def test_a_gap_between_words_is_not_silence() -> None:
    sound = np.full(4 * RATE, 0.1, np.float32)
    sound[RATE : RATE + 4000] = 0  # 250 ms
    assert not sync.silent(sound, 100).any()
    sound[RATE : RATE + 6400] = 0  # 400 ms
    assert sync.silent(sound, 100).sum() == 10


def test_sound_that_ends_early_is_silence_from_there_on() -> None:
    level = sync.loudness(np.full(RATE, 0.1, np.float32), 50)
    assert level[:25] == pytest.approx(-20)
    assert (level[25:] == -120).all()


def test_three_seconds_are_needed() -> None:
    with pytest.raises(ValueError, match=r"2\.0 s are too short"):
        sync.sync(np.ones(50), np.ones(2 * RATE, np.float32))
