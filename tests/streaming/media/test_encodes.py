"""Test that slow viewers get a few lower encodes, that others notice nothing, and that rates change in place."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from clocks import turn
from hypothesis import given
from hypothesis import strategies as st

from streaming.media.broadcast import KEYFRAMES_EVERY, Broadcast, Viewer
from streaming.media.encodes import MOST_LOWER, Encodes
from streaming.media.h264 import LiveEncoder
from streaming.media.rungs import EVERY, PACKET, rung_for

pytestmark = pytest.mark.asyncio
FPS, BITRATE, TICKS = 16, 300_000, 5625


class Film:
    """Encode noise for viewers that read at once, and note what each got."""

    def __init__(self, bitrate: int = BITRATE) -> None:
        self.broadcast, self.number = Broadcast(), 0
        self.encodes = Encodes(LiveEncoder(128, 128, FPS, bitrate), self.broadcast, FPS)
        self.encoders: list[set[int]] = []  # of every frame
        self.got: dict[Viewer, list[tuple[int, bool, int]]] = {}  # frame, keyframe, bytes
        self._tasks: list[asyncio.Task[None]] = []

    def join(self, line: float | None = None) -> Viewer:
        viewer = self.broadcast.join()
        viewer.line, self.got[viewer] = line, []
        self._tasks.append(asyncio.ensure_future(self._read(viewer)))
        return viewer

    async def _read(self, viewer: Viewer) -> None:
        while (packet := await viewer.get()) is not None:
            self.got[viewer].append((packet.pts // TICKS, packet.is_keyframe, packet.size))

    async def play(self, frames: int, *, recording: bool = False) -> None:
        for _ in range(frames):
            await turn()
            chance = np.random.default_rng(self.number)
            picture = chance.integers(0, 60, (128, 128, 3), np.uint8)
            jobs = self.encodes.due(self.number, cut=False, recording=recording, recording_waits=False)
            self.encoders.append({id(job.encoder) for job in jobs})
            for job in jobs:
                for packet in job.encoder.encode(picture, self.number * TICKS, keyframe=job.keyframe):
                    self.broadcast.send(packet, job.source)
            self.number += 1
        await turn()

    def frames(self, viewer: Viewer, since: int = 0) -> list[int]:
        return [frame for frame, _, _ in self.got[viewer] if frame >= since]

    def keyframes(self, viewer: Viewer) -> list[int]:
        return [frame for frame, key, _ in self.got[viewer] if key]

    def kbit(self, viewer: Viewer, since: int) -> float:
        return sum(8 * n for frame, _, n in self.got[viewer] if frame >= since) * FPS / (self.number - since) / 1000


async def test_a_line_that_carries_less_than_it_seems_to_is_sent_fewer_pictures_and_no_further_keyframes() -> None:
    film = Film()
    viewer = film.broadcast.join()
    viewer.line, carried, got = 24_000.0, 0.0, list[tuple[int, bool]]()
    asking = asyncio.ensure_future(viewer.get())
    for _ in range(20 * FPS):
        await film.play(1)
        carried = min(carried + 0.6 * viewer.line / 8 / FPS, 200.0)
        while asking.done() and (packet := asking.result()) is not None and carried > 0:
            carried -= packet.size + PACKET
            got.append((packet.pts // TICKS, packet.is_keyframe))
            asking = asyncio.ensure_future(viewer.get())
            await turn()
    asking.cancel()
    assert sum(key for _, key in got) <= 2  # the second with an encoder for a slow line
    assert len([frame for frame, _ in got if frame >= 2 * FPS]) > 18 * 3
    assert all(b - a <= FPS for (a, _), (b, _) in itertools.pairwise(got))


async def test_a_single_slow_viewer_changes_the_rate_in_place_without_a_keyframe() -> None:
    film = Film()
    viewer = film.join()
    await film.play(32)
    viewer.line = 180_000
    await film.play(96)
    assert film.keyframes(viewer) == [0]
    assert film.frames(viewer) == list(range(128))
    assert len(set().union(*film.encoders)) == 1
    assert film.kbit(viewer, 64) < 180
    viewer.line = None
    await film.play(96)
    assert film.keyframes(viewer) == [0]
    assert film.kbit(viewer, 192) > 250


async def test_slow_viewers_beside_others_get_lower_encodes_and_the_others_get_every_packet() -> None:
    film, alone = Film(), Film()
    clean, same = film.join(), alone.join()
    await film.play(32)
    slow = [film.join(line) for line in (110_000, 100_000, 90_000, 30_000)]
    await film.play(96)
    for viewer in slow:
        film.broadcast.leave(viewer)
    await film.play(32)
    await alone.play(160)
    assert film.frames(clean) == list(range(160))
    assert film.keyframes(clean) == alone.keyframes(same) == [0]
    assert film.got[clean] == alone.got[same]  # to the byte
    assert film.kbit(slow[3], 64) * 160 / 128 < 30
    assert max(len(encoders) for encoders in film.encoders) == 3  # one for the three that are similar
    assert len(film.encoders[-1]) == 1


@pytest.mark.parametrize("claim", [1_000, 5_000, 12_000])
@pytest.mark.parametrize("others", [True, False])
async def test_viewers_who_claim_little_do_not_slow_the_other_slow_ones(claim: float, others: bool) -> None:
    film = Film()
    if others:
        film.join()
    honest = [film.join(line) for line in (60_000, 150_000)]
    await film.play(32)
    for n in range(9):
        film.join(claim * (1 + n / 20))
    await film.play(32)
    watched, begin = [film.keyframes(viewer) for viewer in honest], film.number
    await film.play(64)
    assert film.frames(honest[0], begin) == film.frames(honest[1], begin) == list(range(begin, begin + 64))
    assert film.kbit(honest[0], begin) > 25
    assert film.kbit(honest[1], begin) > 70
    assert [film.keyframes(viewer) for viewer in honest] == watched


async def test_there_are_at_most_four_encodes_of_a_frame_and_keyframes_whatever_viewers_claim() -> None:
    film, chance = Film(), np.random.default_rng(1)
    film.join()
    slow = [film.join(line) for line in (2_000, 9_000, 20_000, 45_000, 100_000, 200_000)]
    for _ in range(20):
        await film.play(FPS)
        for viewer in slow:
            viewer.line = float(chance.integers(1_000, 300_000))
    assert max(len(encoders) for encoders in film.encoders) <= MOST_LOWER + 2


async def test_slow_viewers_stay_with_their_encode_while_their_lines_change_a_little() -> None:
    film, chance = Film(), np.random.default_rng(2)
    film.join()
    slow = [film.join(line) for line in (60_000, 40_000, 130_000)]
    await film.play(32)
    before = [film.keyframes(viewer) for viewer in slow]
    for _ in range(20):
        for viewer, line in zip(slow, (60_000, 40_000, 130_000), strict=True):
            viewer.line = line * float(chance.uniform(0.9, 1.1))
        await film.play(FPS // 2)
    assert [film.keyframes(viewer) for viewer in slow] == before


@pytest.mark.parametrize("bitrate", [41_000, BITRATE])
async def test_a_line_that_becomes_better_costs_no_more_keyframes_than_its_encode_is_opened_anew(bitrate: int) -> None:
    film = Film(bitrate)
    viewer = film.join()
    for line in range(10_000, 60_000, 2_000):
        viewer.line = float(line)
        await film.play(FPS)
    assert len(film.keyframes(viewer)) <= 6
    assert film.frames(viewer)[-FPS // 2 :] == list(range(film.number - FPS // 2, film.number))


async def test_a_viewer_whose_line_is_good_again_goes_back_to_the_full_encode() -> None:
    film = Film()
    film.join()
    slow = film.join(60_000)
    await film.play(64)
    slow.line = None
    await film.play(32)
    assert slow.source is film.broadcast.full
    assert film.frames(slow, 66) == list(range(66, 96))
    assert len(film.encoders[-1]) == 1


async def test_a_recording_keeps_the_full_rate_beside_a_slow_viewer() -> None:
    film = Film()
    slow = film.join()
    await film.play(16)
    slow.line = 40_000
    await film.play(32, recording=True)
    assert slow.source is not film.broadcast.full
    assert len(film.encoders[-2] | film.encoders[-1]) == 2


async def test_a_line_that_carries_too_little_for_frames_is_sent_keyframes_some_seconds_apart() -> None:
    film = Film()
    film.join()
    slow = film.join()
    await film.play(16)
    slow.line = 1_000
    await film.play(320)
    frames = film.frames(slow, 32)
    assert frames == film.keyframes(slow)[-len(frames) :]
    assert len(frames) >= 4
    assert all(b - a >= KEYFRAMES_EVERY // TICKS for a, b in itertools.pairwise(frames))


async def test_a_held_viewer_gets_nothing_asks_for_nothing_and_goes_on_with_the_present() -> None:
    film = Film()
    viewer, other = film.join(), film.join()
    await film.play(16)
    viewer.hold(held=True)
    viewer.request_keyframe()
    await film.play(160)
    assert film.frames(viewer) == list(range(16))
    assert len(viewer) == 0
    viewer.hold(held=False)
    await film.play(8)
    assert film.frames(viewer, 16) == list(range(176, 184))
    assert film.keyframes(other) == [0, 176]


async def test_the_queue_of_a_slow_viewer_that_does_not_read_is_bounded() -> None:
    film = Film()
    viewer = film.broadcast.join()
    viewer.line = 100_000
    asking = asyncio.ensure_future(viewer.get())
    await film.play(400)
    assert len(viewer) <= FPS
    asking.cancel()


@given(st.floats(1_000, 5e6), st.sampled_from([40_000, 300_000, 3_000_000]), st.sampled_from([16, 25]))
async def test_an_encode_never_takes_more_than_its_line_carries(line: float, bitrate: int, fps: int) -> None:
    rung = rung_for(line, bitrate, fps)
    better = rung_for(1.2 * line, bitrate, fps)
    if rung is None:
        assert line < bitrate / 64 or line < 8 * PACKET * fps
        return
    assert rung.bitrate + 8 * PACKET * fps / rung.every <= line + 1
    assert rung.bitrate <= bitrate
    assert better is not None
    assert (better.every, -better.bitrate) <= (rung.every, -rung.bitrate) or better.every < rung.every


@given(st.floats(5_000, 400_000))
async def test_the_frame_rate_falls_at_once_and_rises_with_a_margin(line: float) -> None:
    for every in EVERY:
        now = rung_for(line, BITRATE, FPS, every)
        if now is not None and now.every < every:
            lower = rung_for(line / 1.25, BITRATE, FPS, now.every)
            assert lower is not None
            assert lower.every <= now.every


async def test_bitrate_goes_down_before_the_frame_rate() -> None:
    rungs = [rung_for(line, BITRATE, FPS) for line in (400_000, 200_000, 60_000, 24_000, 12_000, 6_000)]
    assert [rung.every for rung in rungs if rung is not None] == [1, 1, 1, 2, 4, 8]
    assert rung_for(2_000, BITRATE, FPS) is None
