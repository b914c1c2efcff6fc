"""One clock for pictures and sound: after half an hour they are where they were, and a stall moves both."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable

import av
import numpy as np
import pytest

from models.driving_signal import FRAME
from streaming.live import playout as module
from streaming.live.pacing import TICKS
from streaming.live.playout import Playout, Shown
from streaming.media.opus import SoundEncoder

pytestmark = pytest.mark.asyncio
FPS = 25


class Time:
    """A clock that only sleep and work move; every sleep is late by up to `jitter` seconds."""

    def __init__(self, jitter: float) -> None:
        self.now, self._jitter, self._chance = 0.0, jitter, random.Random(0)

    def __call__(self) -> float:
        return self.now

    def works(self, seconds: float) -> None:
        """Something takes up to so long."""
        self.now += self._chance.uniform(0, seconds)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + self._chance.uniform(0, self._jitter)


class Nothing:
    """Instead of x264, which half an hour of frames would keep busy for minutes: a packet a picture, which takes time."""

    width = height = 32

    def __init__(self, clock: Time) -> None:
        self._clock = clock

    def encode(self, picture: np.ndarray, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        self._clock.works(0.01)
        packet = av.Packet(b"x")
        packet.pts, packet.is_keyframe = pts, True
        return [packet]


class Ends:
    """Keeps what a broadcast sends, with the time at which it is sent."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.sent: list[tuple[float, int]] = []
        self._clock = clock

    def offer(self, packet: av.Packet) -> None:
        self.sent.append((self._clock(), packet.pts))

    waiting = False


async def played(minutes: float, jitter: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Ends, Ends, Time]:
    """Half an hour of frames in a moment, with stalls in it: what left of pictures and of sound, and when."""
    clock = Time(jitter)
    playout = Playout((32, 32), FPS, freed=lambda: None, shown=lambda shown, number: None, clock=clock, sound=True)
    playout._encoder = Nothing(clock)  # the sound is encoded as it is live
    assert playout.sound is not None
    pictures, sounds = Ends(clock), Ends(clock)
    playout.broadcast._viewers, playout.sound._viewers = {pictures}, {sounds}

    class Loop:
        @staticmethod
        async def run_in_executor(_: object, job: Callable[[], list[av.Packet]]) -> list[av.Packet]:
            return job()

    monkeypatch.setattr(module.asyncio, "get_running_loop", Loop)
    monkeypatch.setattr(module.asyncio, "sleep", clock.sleep)

    async def woken(waiting: object, _: float) -> None:  # the queue is empty: drawing stalls, and then gives a chunk
        waiting.close()
        stall = clock._chance.choice((0.0, 0.0, 0.3))
        clock.now += stall
        if playout.released >= minutes * 60 * FPS:
            playout.end()
        begin = playout.next_frame
        playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=begin + i) for i in range(12))

    monkeypatch.setattr(module.asyncio, "wait_for", woken)
    playout.hold(held=False)
    await playout.run()
    monkeypatch.undo()
    return pictures, sounds, clock


async def test_after_half_an_hour_sound_and_picture_are_as_far_apart_as_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pictures, sounds, clock = await played(30, 0.015, monkeypatch)
    heard = sounds.sent[::2]  # two packets a frame
    assert len(pictures.sent) == len(heard) >= 30 * 60 * FPS
    apart = [1000 * (a - b) for (a, _), (b, _) in zip(pictures.sent, heard, strict=True)]
    media = [(p - s - 585) / 90 for (_, p), (_, s) in zip(pictures.sent, heard, strict=True)]  # Opus looks ahead
    print(
        f"\nafter {clock.now / 60:.1f} minutes: drift {apart[-1] - apart[0]:+.3f} ms of time, {media[-1]:+.3f} of media"
    )
    assert max(abs(a) for a in apart) <= 20
    assert max(abs(m) for m in media) == 0
    pts = [p for _, p in pictures.sent]
    assert pts == sorted(set(pts))


async def test_opus_keeps_count_of_samples_for_ever() -> None:
    encoder = SoundEncoder()
    pts = []
    for number in range(2000):
        pts += [p.pts for p in encoder.encode(np.zeros(FRAME, np.int16), number)]
    assert {b - a for a, b in itertools.pairwise(pts)} == {TICKS // 50}
    assert pts[0] == -585  # the codec looks 6.5 ms ahead (RFC 7845), and says so


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_five_minutes_on_the_wall_clock_do_not_drift() -> None:
    import time

    playout = Playout(
        (32, 32), FPS, freed=lambda: None, shown=lambda shown, number: None, clock=time.monotonic, sound=True
    )
    assert playout.sound is not None
    pictures, sounds = Ends(time.monotonic), Ends(time.monotonic)
    playout.broadcast._viewers, playout.sound._viewers = {pictures}, {sounds}
    picture = np.zeros((32, 32, 3), np.uint8)
    playout.add(Shown(picture, 0, frame=i) for i in range(300 * FPS))
    playout.hold(held=False)
    running = asyncio.create_task(playout.run())
    while playout.released < 300 * FPS:
        await asyncio.sleep(1)
    playout.end()
    await running
    heard = sounds.sent[::2]  # two packets a frame
    assert [p for _, p in heard] == [p - 585 for _, p in pictures.sent]
    apart = 1000 * np.array([a - b for (a, _), (b, _) in zip(pictures.sent, heard, strict=True)])
    first, last = np.median(apart[:250]), np.median(apart[-250:])
    rate = (len(pictures.sent) - 1) / (pictures.sent[-1][0] - pictures.sent[0][0])
    print(
        f"\nfive minutes: drift {last - first:+.2f} ms, p95 apart {np.quantile(np.abs(apart), 0.95):.1f} ms, {rate:.3f} fps"
    )
    assert abs(last - first) <= 20
