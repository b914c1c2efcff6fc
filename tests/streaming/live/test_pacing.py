"""Frames leave at the media rate, never in a burst, and the dial says how far ahead to draw."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.live.pacing import TOLERANCE, LookAhead, Pace, may_draw, pts_of

FPS = st.integers(1, 120)


def played(pace: Pace, ready: list[float]) -> tuple[list[float], Pace]:
    """Return when frames leave that are ready at those times, and the pace afterwards."""
    times: list[float] = []
    for frame, at in enumerate(ready, pace.frame):
        now = max(at, pace.due(frame), *times[-1:])
        pace = pace.released(frame, now)
        times.append(now)
    return times, pace


def test_frames_are_due_at_the_media_rate() -> None:
    pace = Pace(16, 100, 50.0)
    assert [pace.due(100 + i) for i in (0, 1, 16, 16 * 3600)] == [50, 50.0625, 51, 50 + 3600]


@given(fps=FPS, waits=st.lists(st.floats(0, 3), min_size=1, max_size=40))
def test_two_frames_are_never_closer_than_the_tolerance_allows(fps: int, waits: list[float]) -> None:
    ready = [sum(waits[: i + 1]) for i in range(len(waits))]
    times, _ = played(Pace(fps, 7, 0.0), ready)
    gaps = [b - a for a, b in pairwise(times)]
    assert all(gap >= (1 - TOLERANCE) / fps - 1e-9 for gap in gaps)


@given(fps=FPS, late=st.lists(st.floats(0, TOLERANCE * 0.99), max_size=40))
def test_frames_within_the_tolerance_do_not_move_the_pace(fps: int, late: list[float]) -> None:
    pace = Pace(fps, 0, 10.0)
    for frame, share in enumerate(late):
        assert pace.released(frame, pace.due(frame) + share / fps) == pace


def test_frames_that_piled_up_during_a_stall_are_shown_at_the_media_rate() -> None:
    ready = [0.0, 0.1, 5.0, 5.0, 5.0, 5.0]  # the third frame is seconds late, the others came with it
    times, pace = played(Pace(10, 0, 0.0), ready)
    assert times == pytest.approx([0, 0.1, 5.0, 5.1, 5.2, 5.3])
    assert (pace.frame, pace.time) == (2, 5.0)


@given(fps=FPS, frame=st.integers(0, 10**9))
def test_media_time_grows_with_every_frame(fps: int, frame: int) -> None:
    assert pts_of(frame, fps) < pts_of(frame + 1, fps)
    assert pts_of(fps * frame, fps) == 90_000 * frame


@given(unplayed=st.integers(0, 100), chunk=st.integers(1, 48), production=st.floats(0, 200))
def test_a_longer_dial_draws_whenever_a_shorter_one_would_and_all_draw_when_nothing_is_left(
    unplayed: int, chunk: int, production: float
) -> None:
    dials = (LookAhead.INSTANT, LookAhead.SMOOTH, LookAhead.LOSSLESS)
    instant, smooth, lossless = (may_draw(d, unplayed=unplayed, chunk=chunk, production=production) for d in dials)
    assert instant <= smooth <= lossless
    assert instant or unplayed > 0
    assert not lossless or unplayed <= 2 * chunk


def watched(dial: LookAhead, makes: list[int], chunk: int, production: float) -> tuple[int, int]:
    """Return (frames that came late after the first chunk, most frames that lay ready) for chunks that take so long."""
    unplayed = stalled = most = 0
    for i, ticks in enumerate(makes):
        while not may_draw(dial, unplayed=unplayed, chunk=chunk, production=production):
            unplayed -= 1
        stalled += max(0, ticks - unplayed) if i else 0
        unplayed = max(0, unplayed - ticks) + chunk
        most = max(most, unplayed)
    return stalled, most


@given(st.lists(st.integers(0, 12), max_size=30))
def test_smooth_never_stalls_while_a_chunk_takes_no_longer_than_it_plays(makes: list[int]) -> None:
    stalled, most = watched(LookAhead.SMOOTH, [0, 0, *makes], 12, 6.0)
    assert stalled == 0
    assert most <= 24


@given(st.integers(0, 24))
def test_lossless_survives_a_chunk_that_takes_twice_as_long_as_it_plays(slow: int) -> None:
    assert watched(LookAhead.LOSSLESS, [0, 0, 0, 4, slow], 12, 6.0)[0] == 0


@given(st.floats(0, 9))
def test_instant_keeps_few_frames_ready_and_does_not_stall_on_an_even_model(production: float) -> None:
    stalled, most = watched(LookAhead.INSTANT, [int(production)] * 30, 12, production)
    assert stalled == 0
    assert most <= 12 + max(3, 1.25 * production) - int(production)


def test_instant_depends_on_the_measured_time() -> None:
    assert not may_draw(LookAhead.INSTANT, unplayed=9, chunk=12, production=4.0)
    assert may_draw(LookAhead.INSTANT, unplayed=9, chunk=12, production=8.0)
    assert may_draw(LookAhead.INSTANT, unplayed=3, chunk=12, production=0.0)
    assert not may_draw(LookAhead.INSTANT, unplayed=13, chunk=12, production=100.0)
