"""Test that a viewer gets packets without a gap from a keyframe on, and that no viewer affects another."""

from __future__ import annotations

import asyncio
import itertools

import av
import pytest
from clocks import turn
from hypothesis import given
from hypothesis import strategies as st

from streaming.media.broadcast import AT_ONCE, Broadcast, Viewer

pytestmark = pytest.mark.asyncio
FRAME = 5625  # ticks


def packet(frame: int, *, key: bool = False) -> av.Packet:
    made = av.Packet(b"x")
    made.pts, made.is_keyframe = frame * FRAME, key
    return made


class Source:
    """Send packets, with a keyframe whenever the broadcast wants one."""

    def __init__(self) -> None:
        self.broadcast, self.frame, self.keys = Broadcast(), 0, list[int]()

    def send(self, frames: int = 1) -> None:
        for _ in range(frames):
            if key := self.broadcast.keyframe_wanted:
                self.keys.append(self.frame)
            self.broadcast.send(packet(self.frame, key=key))
            self.frame += 1


async def seen(viewer: Viewer, source: Source, frames: int) -> list[int]:
    """Return the frames of a viewer that always waits for the next packet."""
    got = []
    for _ in range(frames):
        waiting = asyncio.ensure_future(viewer.get())
        await turn()
        while not waiting.done():
            source.send()
            await turn()
        got.append((await waiting).pts // FRAME)
    return got


async def test_a_viewer_gets_a_keyframe_first_and_then_every_packet() -> None:
    source = Source()
    source.send(20)
    assert source.keys == []  # there is no viewer
    assert await seen(source.broadcast.join(), source, 5) == [20, 21, 22, 23, 24]
    assert source.keys == [20]


async def test_a_viewer_that_connects_slowly_starts_with_a_new_keyframe() -> None:
    source = Source()
    early = source.broadcast.join()
    await seen(early, source, 3)
    late = source.broadcast.join()
    early.request_keyframe()
    source.send(10)  # while it connects, a keyframe passes too
    assert source.keys == [0, 9]
    assert await seen(late, source, 2) == [18, 19]  # a new one, when the others have recovered from the last


async def test_a_packet_encoded_before_a_viewer_asked_is_not_sent_to_it() -> None:
    broadcast = Broadcast()
    waiting = asyncio.ensure_future(broadcast.join().get())
    await turn()
    broadcast.send(packet(0))
    await turn()
    assert broadcast.keyframe_wanted
    broadcast.send(packet(1, key=True))
    assert (await asyncio.wait_for(waiting, 1)).pts == FRAME


async def test_a_slow_viewer_goes_on_at_a_keyframe_and_others_miss_no_packet() -> None:
    source = Source()
    quick, slow = source.broadcast.join(), source.broadcast.join()
    asking = asyncio.ensure_future(slow.get())
    await turn()
    assert await seen(quick, source, 100) == list(range(100))
    assert (await asking).pts == 0
    assert source.keys == [0]  # its queue was dropped as it read nothing, which cost no keyframe
    assert await seen(slow, source, 3) == [100, 101, 102]
    assert source.keys == [0, 100]
    assert await seen(quick, source, 3) == [100, 101, 102]


async def test_viewers_that_join_within_half_a_second_begin_with_one_keyframe() -> None:
    source = Source()
    watching = source.broadcast.join()
    await seen(watching, source, 40)
    joining = [asyncio.ensure_future(source.broadcast.join().get()) for _ in range(3)]
    await seen(watching, source, 2)
    joining += [asyncio.ensure_future(source.broadcast.join().get()) for _ in range(3)]
    await seen(watching, source, 20)
    assert source.keys == [0, 40, 49]
    assert [(await asyncio.wait_for(first, 1)).pts // FRAME for first in joining] == [40] * 3 + [49] * 3


async def test_a_viewer_that_leaves_and_comes_back_all_the_time_costs_the_others_a_keyframe_in_two_seconds() -> None:
    source = Source()
    watching = source.broadcast.join()
    await seen(watching, source, 160)
    waits = []
    while source.frame < 160 + 60 * 16:
        guest, begin = source.broadcast.join(), source.frame
        asking = asyncio.ensure_future(guest.get())
        await turn()
        while not asking.done():
            source.send()
            await turn()
        waits.append(source.frame - begin)
        source.broadcast.leave(guest)
    assert len(source.keys) - 1 <= 60 / 2 + AT_ONCE
    assert waits[0] == 1
    assert max(waits) <= 2 * 16 + 1
    assert all(b - a >= 8 for a, b in itertools.pairwise(source.keys))


async def test_a_short_delay_loses_no_packet() -> None:
    source = Source()
    viewer = source.broadcast.join()
    await seen(viewer, source, 1)
    source.send(16)
    assert await seen(viewer, source, 20) == list(range(1, 21))


async def test_a_viewer_whose_queue_overflows_before_it_wakes_gets_the_next_keyframe() -> None:
    source = Source()
    viewer = source.broadcast.join()
    waiting = asyncio.ensure_future(viewer.get())
    await turn()
    source.send(18)  # all in one step of the loop
    assert not waiting.done()
    await turn()
    await turn()
    source.send()
    assert (await asyncio.wait_for(waiting, 1)).pts == 18 * FRAME


async def test_a_lost_picture_brings_a_keyframe_at_once_and_many_requests_bring_one_in_two_seconds() -> None:
    source = Source()
    viewer = source.broadcast.join()
    await seen(viewer, source, 40)
    viewer.request_keyframe()
    await seen(viewer, source, 1)
    assert source.keys == [0, 40]
    for _ in range(160):
        viewer.request_keyframe()
        source.send()
    assert source.keys[1:5] == [40, 49, 58, 67]
    assert [b - a for a, b in itertools.pairwise(source.keys[6:])] == [32, 32]


async def test_any_keyframe_answers_a_request() -> None:
    broadcast = Broadcast()
    viewer = broadcast.join()
    viewer.request_keyframe()
    assert broadcast.keyframe_wanted
    broadcast.send(packet(0, key=True))
    broadcast.send(packet(90))
    assert not broadcast.keyframe_wanted


@pytest.mark.parametrize("over", [True, False])
async def test_a_viewer_that_waits_gets_none_when_it_leaves_or_the_broadcast_ends(over: bool) -> None:
    source = Source()
    viewer, other = source.broadcast.join(), source.broadcast.join()
    await seen(viewer, source, 1)
    waiting = asyncio.ensure_future(viewer.get())
    await turn()
    if over:
        source.broadcast.close()
    else:
        source.broadcast.leave(viewer)
        source.broadcast.leave(viewer)
    assert await asyncio.wait_for(waiting, 1) is None
    assert await viewer.get() is None
    assert len(source.broadcast) == (0 if over else 1)
    if not over:
        assert len(await seen(other, source, 3)) == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 25)), max_size=30))
async def test_a_gap_ends_with_a_keyframe_at_any_speed_of_reading(reading: list[tuple[int, int]]) -> None:
    source = Source()
    viewers = [source.broadcast.join() for _ in range(3)]
    got: list[list[int]] = [[], [], []]

    async def read(i: int) -> None:
        while (p := await viewers[i].get()) is not None:
            got[i].append(p.pts // FRAME)
            await gates[i].acquire()

    gates = [asyncio.Semaphore(0) for _ in viewers]
    tasks = [asyncio.ensure_future(read(i)) for i in range(3)]
    for viewer, reads in reading:
        for _ in range(reads):
            gates[viewer].release()
        await turn()
        source.send(3)
        await turn()
    source.broadcast.close()
    for gate in gates:
        gate.release()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for frames in got:
        previous = None
        for frame in frames:
            assert frame in source.keys or frame - 1 == previous
            previous = frame
