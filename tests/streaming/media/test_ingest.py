"""The pictures of a camera wait in a short queue: the newest displaces the oldest, and each has its time."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.media.ingest import HELD, MOST_PIXELS, Camera


class SteppedClock:
    """Give the time that was set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        self.now += seconds


def grey(value: int, pts: int | None = None) -> av.VideoFrame:
    """Return a picture of 4x2 of one grey; `pts` is its time on the camera's clock in 1/90000 s."""
    frame = av.VideoFrame.from_ndarray(np.full((2, 4, 3), value, np.uint8), format="rgb24")
    if pts is not None:
        frame.pts, frame.time_base = pts, Fraction(1, 90_000)
    return frame


def values(camera: Camera, since: float = float("-inf")) -> list[int]:
    return [int(frame.picture()[0, 0, 0]) for frame in camera.since(since)]


@given(st.integers(0, 3 * HELD), st.integers(-1, 3 * HELD))
def test_the_newest_pictures_are_held_in_order_each_with_the_time_at_which_it_arrived(put: int, asked: int) -> None:
    clock = SteppedClock()
    camera = Camera(clock)
    feed = camera.connect()
    for number in range(put):
        clock.now = 100.0 + number
        feed.put(grey(number))
    held = list(range(max(0, put - HELD), put))
    assert values(camera) == held
    assert [frame.time for frame in camera.since(0)] == [100.0 + number for number in held]
    assert values(camera, 100.0 + asked) == [number for number in held if number > asked]
    newest = camera.latest()
    assert (newest is None) == (put == 0)
    assert newest is None or newest.time == 100.0 + put - 1


def test_pictures_that_arrive_in_one_step_of_the_clock_have_different_times() -> None:
    camera = Camera(SteppedClock())
    feed = camera.connect()
    for number in range(5):
        feed.put(grey(number))
    times = [frame.time for frame in camera.since(0)]
    assert sorted(set(times)) == times
    assert values(camera, times[2]) == [3, 4]


def test_a_newer_connection_takes_the_place_of_the_former_and_drops_its_pictures() -> None:
    camera = Camera(SteppedClock())
    former = camera.connect()
    former.put(grey(1))
    newer = camera.connect()
    assert (former.replaced, newer.replaced, camera.latest()) == (True, False, None)
    former.put(grey(2))
    former.close()
    newer.put(grey(3))
    assert values(camera) == [3]
    assert camera.connected
    newer.close()
    assert (camera.connected, camera.latest(), camera.figures()) == (False, None, None)


def test_the_frame_rate_is_that_of_the_camera_s_clock_whatever_the_network_does_to_its_packets() -> None:
    clock = SteppedClock()
    camera = Camera(clock)
    feed = camera.connect()
    for number in range(30):
        clock.now += 0.5 if number % 10 == 0 else 0.0  # they come in bursts
        feed.put(grey(0, 4500 * number))
    clock.now += 2
    figures = camera.figures()
    assert figures is not None
    assert (figures.width, figures.height, figures.fps) == (4, 2, 20.0)
    assert figures.age == pytest.approx(2)


def test_a_picture_that_is_too_large_is_refused() -> None:
    wide = MOST_PIXELS // 2 + 2
    frame = av.VideoFrame(wide, 2, "gray")
    with pytest.raises(ValueError, match=f"{wide}x2 is too large"):
        Camera(SteppedClock()).connect().put(frame)


@pytest.mark.asyncio
async def test_a_slow_reader_gets_the_newest_picture_next_and_its_loop_ends_with_the_camera() -> None:
    camera, seen = Camera(), []
    feed = camera.connect()
    feed.put(grey(0))

    async def read() -> None:
        async for frame in camera.frames():
            seen.append(int(frame.picture()[0, 0, 0]))
            if seen[-1] == 0:
                for number in range(1, 4):  # while this one is used
                    feed.put(grey(number))
            else:
                feed.close()

    await asyncio.wait_for(read(), 5)
    assert seen == [0, 3]
