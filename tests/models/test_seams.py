"""Seams, knots and drift are found where they were put, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.judge import drift, seams
from models.judge.seams import Frames, Numbers
from models.time_grid import TimeGrid

PERIOD = 12


def flow(frames: int, seed: int) -> Numbers:
    """Return changes of a video that moves now more, now less, with noise, and without any period."""
    rng = np.random.default_rng(seed)
    slow = np.convolve(rng.standard_normal(frames + 80), np.hanning(81), mode="valid") / 5.5
    return np.exp(0.4 * slow + 0.15 * rng.standard_normal(frames)) * 2


def seamed(series: Numbers, factor: float, period: int = PERIOD, phase: int = 9) -> Numbers:
    out = series.copy()
    out[phase::period] *= factor
    return out


def moving(frames: int, speed: Numbers) -> Frames:
    """Draw a soft pattern that slides by so many pixels from frame to frame."""
    x = np.cumsum(speed)[:, None] + np.arange(48)[None]
    row = 128 + 60 * np.sin(x / 5) + 40 * np.sin(x / 11 + 1)
    return np.repeat(np.repeat(row[:, None, :, None], 32, 1), 3, 3).round().astype(np.uint8)


@given(factor=st.floats(1.5, 4), phase=st.integers(0, PERIOD - 1), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_a_seam_is_found_at_its_phase_with_its_strength(factor: float, phase: int, seed: int) -> None:
    found = seams.seam_ratio(seamed(flow(720, seed), factor, phase=phase), PERIOD, draws=40)
    assert found.seam
    assert found.phase == phase
    assert found.ratio == pytest.approx(factor, rel=0.2)
    assert max(found.controls) < 1.15


@pytest.mark.parametrize("period", [11, 13, 10])
def test_a_pulse_at_another_period_is_no_seam(period: int) -> None:
    found = seams.seam_ratio(seamed(flow(720, 3), 2, period), PERIOD, draws=60)
    assert not found.seam
    assert found.ratio < 1.3


def test_an_even_video_lies_inside_the_null() -> None:
    verdicts = [seams.seam_ratio(flow(720, seed), PERIOD, draws=40) for seed in range(10)]
    assert not any(v.seam for v in verdicts)
    assert sum(v.ratio <= v.null for v in verdicts) >= 8
    assert all(v.ratio < 1.2 for v in verdicts)


def test_the_pulse_of_the_codec_is_told_from_a_seam() -> None:
    series = flow(720, 4)
    series[1::4] *= 1.5  # the first frame of every latent, not only of a chunk
    found = seams.seam_ratio(series, PERIOD, draws=20)
    assert found.excess(9) == pytest.approx(1, abs=0.15)
    assert seams.seam_ratio(seamed(series, 1.6), PERIOD, draws=20).excess(9) == pytest.approx(1.6, abs=0.25)


def test_a_film_that_repeats_its_borders_has_a_seam_in_pixels() -> None:
    speed = 0.5 + 0.05 * np.random.default_rng(0).standard_normal(240)
    assert not seams.seam_ratio(seams.changes(moving(240, speed)), draws=40).seam
    speed[9::PERIOD] *= 2
    found = seams.seam_ratio(seams.changes(moving(240, speed)), draws=40)
    assert (found.seam, found.phase) == (True, 9)
    assert found.ratio == pytest.approx(2, rel=0.15)


def test_jerks_see_a_turn_that_changes_do_not() -> None:
    speed = np.full(240, 0.6)
    speed[np.arange(240) // PERIOD % 2 == 1] *= -1  # back and forth, turning at every border
    frames = moving(240, speed)
    assert not seams.seam_ratio(seams.changes(frames), draws=40).seam
    found = seams.seam_ratio(seams.jerks(frames), draws=40)
    assert found.seam
    assert found.phase == PERIOD - 1


def test_a_box_keeps_out_what_moves_elsewhere() -> None:
    frames = moving(30, np.full(30, 1.0))
    frames[:, :16] = 90
    assert np.nanmax(seams.changes(frames, (0, 0, 1, 0.5))) == 0
    assert np.nanmin(seams.changes(frames, (0, 0.5, 1, 1))) > 0
    assert drift.steadiness(frames, (0, 0, 1, 0.5)) == 1
    assert drift.steadiness(frames, (0, 0.5, 1, 1)) < 1


def test_a_film_that_stands_still_is_even_and_one_that_only_jumps_is_all_seam() -> None:
    still = np.zeros(240)
    assert seams.seam_ratio(still, draws=5).ratio == 1
    assert seams.seam_ratio(seamed(still + 1e-9, 5e9), draws=5).ratio > 100


@pytest.mark.parametrize("first_chunk", [3, 1, 5])
@pytest.mark.parametrize(("factor", "low", "high"), [(0.8, 0.75, 0.85), (1.0, 0.95, 1.05), (1.4, 1.3, 1.5)])
def test_knot_energy_says_slower_even_or_jumping(factor: float, low: float, high: float, first_chunk: int) -> None:
    series = flow(1200, 5)
    latents = (np.arange(1200) + 3) // 4  # frame t is in latent ⌈t / 4⌉
    knots = (latents - first_chunk) % 3 == 0  # the latents that begin a chunk
    found = seams.knot_energy(np.where(knots, series * factor, series), TimeGrid(3, first_chunk))
    assert low < found.ratio < high
    if factor != 1:
        assert found.spread > 1.3 * max(found.controls)
    else:
        assert found.spread < 0.1


def test_a_frame_is_compared_with_its_surroundings_and_not_with_itself() -> None:
    ratio = seams.local_ratio(np.repeat([1.0, 3.0], [6, 7]))
    assert ratio[6] == pytest.approx(3 / 2, abs=1e-3)
    assert np.isnan(ratio[:6]).all()
    assert np.isnan(ratio[7:]).all()


def test_a_seam_has_to_beat_the_null_and_both_controls() -> None:
    def verdict(ratio: float, before: float, after: float, null: float) -> bool:
        return seams.SeamRatio(ratio, 9, np.ones(12), (before, after), null).seam

    assert verdict(1.7, 1.1, 1.2, 1.3)
    assert not verdict(1.7, 1.1, 1.2, 1.8)
    assert not verdict(1.7, 1.6, 1.2, 1.3)
    assert not verdict(1.7, 1.1, 1.6, 1.3)


def test_a_box_at_or_beyond_the_edge_still_holds_a_pixel() -> None:
    frame = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    assert (seams.inside(frame, (1, 1, 1.4, 1.4)) == frame[-1:, -1:]).all()
    assert (seams.inside(frame, (-0.5, 0.25, 0.5, 0.5)) == frame[2:4, :4]).all()


def test_short_films_are_refused() -> None:
    with pytest.raises(ValueError, match="59 frames are too few for period 12; 60"):
        seams.seam_ratio(np.ones(59))
    with pytest.raises(ValueError, match="96 are needed"):
        seams.knot_energy(np.ones(80), TimeGrid(3, 3))
    with pytest.raises(ValueError, match="too short for a slope"):
        drift.trend(np.ones(7), 2)


@given(slope=st.floats(-0.5, 0.5), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_slope_is_recovered(slope: float, seed: int) -> None:
    minutes = np.arange(600) / 120
    noise = 0.02 * np.random.default_rng(seed).standard_normal(600)
    found = drift.trend(0.9 + slope * minutes + noise, 2, draws=300)
    assert found.slope == pytest.approx(slope, abs=0.004)
    assert found.low <= found.slope <= found.high
    assert found.high - found.low < 0.012
    if abs(slope) > 0.01:
        assert not found.flat


def test_an_interval_of_nothing_but_noise_mostly_holds_zero() -> None:
    flat = [drift.trend(np.random.default_rng(s).standard_normal(400), 2, draws=300).flat for s in range(40)]
    assert np.mean(flat) >= 0.85


def test_identity_falls_with_the_face_and_not_with_the_frame_rate() -> None:
    def embed(frames: Frames) -> np.ndarray:
        angle = frames[:, 0, 0, 0].astype(np.float32) / 255
        return np.stack([np.cos(angle), np.sin(angle)], 1)

    grey = np.linspace(0, 200, 1500).astype(np.uint8)  # one minute
    frames = np.broadcast_to(grey[:, None, None, None], (1500, 2, 2, 3))
    series = drift.likeness(frames, np.zeros((1, 2, 2, 3), np.uint8), embed)
    assert series.shape == (120,)
    assert series[0] == pytest.approx(1)
    falling = drift.identity(series)
    assert falling.lowest < falling.mean
    assert falling.change < -0.2
    assert falling.trend.high < 0
    same = drift.identity(drift.likeness(frames[:1].repeat(1500, 0), frames[:1], embed))
    assert (same.mean, same.change, same.trend.slope) == pytest.approx((1, 0, 0), abs=1e-6)


def test_colour_and_sharpness_drift_have_their_size() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(60, 180, (32, 32, 3)).astype(np.float32)
    n = 1000  # forty seconds at 25 fps
    paler = np.stack([base + 40 * t / n for t in range(n)]).astype(np.uint8)
    lighter = drift.colour_drift(drift.lab(paler))
    assert lighter.lightness.low > 0
    assert lighter.delta_e > 5
    steady = drift.colour_drift(drift.lab(np.broadcast_to(base.astype(np.uint8), (n, 32, 32, 3))))
    assert steady.delta_e == pytest.approx(0, abs=1e-4)
    duller = np.stack([128 + (base - 128) * (1 - 0.3 * t / n) for t in range(n)]).astype(np.uint8)
    # contrast falls to 0.7 in 40 s, the Laplacian's variance to 0.49: relative to its mean −1.04 a minute
    assert drift.sharpness_drift(duller).slope == pytest.approx(-1.04, abs=0.06)
