"""Pictures and sound share one clock: they do not drift apart, and stalls and pauses move both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import av
import numpy as np
import pytest
from clocks import LoopClock, TestClock, VirtualTimeLoop
from sessions import until

from streaming.live.clock import MONOTONIC
from streaming.live.pacing import TICKS
from streaming.live.playout import LOOK_EVERY, Playout, Shown
from streaming.live.recent_film import KeptFrame
from streaming.media.broadcast import Broadcast
from streaming.media.h264 import LiveEncoder, bitrate_for
from streaming.media.opus import SILENCE, SoundEncoder
from streaming.speech.fullband import FRAME, RATE, Samples

FPS = 25


class NullEncoder:
    """Stand in for x264, which would take minutes for half an hour of frames: return a packet a picture."""

    width = height = 32
    bitrate = 40_000

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock

    def encode(self, picture: np.ndarray, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        self.clock.works(0.01)
        packet = av.Packet(b"x")
        packet.pts, packet.is_keyframe = pts, True
        return [packet]


class InlineExecutor(ThreadPoolExecutor):
    """Run a job where it is submitted: handing every frame to a thread would take longer than the frames."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Sent:
    """Collect (time, pts) of the packets that a broadcast sends."""

    def __init__(self, broadcast: Broadcast, clock: Callable[[], float], monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[float, int]] = []
        monkeypatch.setattr(broadcast, "send", lambda packet, source=None: self.sent.append((clock(), packet.pts)))


async def played(minutes: float, jitter: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Sent, Sent, TestClock]:
    """Play so many minutes on a test clock, with stalls; return the packets of pictures and of sound, and the clock."""
    asyncio.get_running_loop().set_default_executor(InlineExecutor())
    clock = TestClock(jitter)
    playout = Playout(NullEncoder(clock), FPS, freed=lambda: None, clock=clock, sound=True)  # type: ignore[arg-type]
    assert playout.sound is not None
    pictures, sounds = (Sent(b, clock, monkeypatch) for b in (playout.broadcast, playout.sound))

    def drawn() -> None:  # the queue is empty: drawing stalls, and then gives a chunk
        clock.now += clock.chance.choice((0.0, 0.0, 0.3)) - LOOK_EVERY
        if playout.released >= minutes * 60 * FPS:
            playout.end()
        begin = playout.next_frame
        playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=begin + i) for i in range(12))

    clock.waited = drawn
    playout.hold(held=False)
    await playout.run()
    return pictures, sounds, clock


@pytest.mark.asyncio
@pytest.mark.parametrize("minutes", [4, pytest.param(30, marks=pytest.mark.long)])
async def test_sound_and_picture_do_not_drift_apart(monkeypatch: pytest.MonkeyPatch, minutes: int) -> None:
    pictures, sounds, clock = await played(minutes, 0.015, monkeypatch)
    heard = sounds.sent[::2]  # two packets a frame
    assert len(pictures.sent) == len(heard) >= minutes * 60 * FPS
    apart = [1000 * (a - b) for (a, _), (b, _) in zip(pictures.sent, heard, strict=True)]
    media = [(p - s - 585) / 90 for (_, p), (_, s) in zip(pictures.sent, heard, strict=True)]  # Opus looks ahead
    print(
        f"\nafter {clock.now / 60:.1f} minutes: drift {apart[-1] - apart[0]:+.3f} ms of time, {media[-1]:+.3f} of media"
    )
    assert max(abs(a) for a in apart) <= 20
    assert max(abs(m) for m in media) == 0
    pts = [p for _, p in pictures.sent]
    assert pts == sorted(set(pts))


@pytest.mark.asyncio
async def test_opus_packets_are_20_ms_apart_and_begin_with_the_lookahead() -> None:
    encoder = SoundEncoder()
    pts = []
    for number in range(2000):
        pts += [p.pts for p in encoder.encode(np.zeros(FRAME, np.int16), number * FRAME)]
    assert {b - a for a, b in itertools.pairwise(pts)} == {TICKS // 50}
    assert pts[0] == -585  # the codec looks 6.5 ms ahead (RFC 7845)


class Hum:
    """Hums until it is hushed (FilmSound)."""

    hushed = False

    def frame(self, number: int) -> Samples:
        at = np.arange(number * FRAME, (number + 1) * FRAME)
        return SILENCE if self.hushed else (9000 * np.sin(2 * np.pi * 300 * at / RATE)).astype(np.int16)

    def audible(self, number: int) -> bool:
        return not self.hushed

    def hush(self) -> None:
        self.hushed = True


def test_sound_leaves_20_ms_at_a_time_and_what_has_not_left_is_silenced(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[float, av.Packet]] = []
    kept: list[KeptFrame] = []

    async def test() -> None:
        clock = LoopClock()
        playout = Playout(NullEncoder(TestClock()), FPS, freed=lambda: None, clock=clock, sound=True)  # type: ignore[arg-type]
        playout.film_sound = Hum()
        monkeypatch.setattr(playout.sound, "send", lambda packet: sent.append((clock(), packet)))
        playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=i) for i in range(20))
        playout.hold(held=False)
        running = asyncio.create_task(playout.run())
        await until(lambda: playout.released == 6)
        playout.hush()  # after the first half of the sixth frame
        assert playout.sounded == 5.5 * FRAME
        await until(lambda: playout.released == 12)
        playout.end()
        await running
        assert playout.sounded == 12 * FRAME
        kept.extend(playout.recent.last(1))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(test())
    assert np.diff([at for at, _ in sent]) == pytest.approx(0.02, abs=1e-6)
    opus = av.CodecContext.create("libopus", "r")
    loud = [np.abs(block.to_ndarray()).max() > 500 for _, packet in sent for block in opus.decode(packet)]
    assert sum(loud) == 11 + 1  # packets with the hum, and one with the last 6.5 ms of it: the codec looks ahead
    halves = np.concatenate([frame.sound for frame in kept]).reshape(-1, FRAME // 2)
    assert [bool(half.any()) for half in halves] == [number < 11 for number in range(len(halves))]  # as it was heard


@pytest.mark.asyncio
@pytest.mark.long
@pytest.mark.timeout(600)
async def test_five_minutes_on_the_real_clock_do_not_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = LiveEncoder(32, 32, FPS, bitrate_for(32, 32, FPS))
    playout = Playout(encoder, FPS, freed=lambda: None, clock=MONOTONIC, sound=True)
    assert playout.sound is not None
    pictures, sounds = (Sent(b, MONOTONIC, monkeypatch) for b in (playout.broadcast, playout.sound))
    picture = np.zeros((32, 32, 3), np.uint8)
    playout.add(Shown(picture, 0, frame=i) for i in range(300 * FPS))
    playout.hold(held=False)
    running = asyncio.create_task(playout.run())
    await until(lambda: playout.released >= 300 * FPS, 320)
    playout.end()
    await running
    heard = sounds.sent[::2]  # two packets a frame
    assert [p for _, p in heard] == [p - 585 for _, p in pictures.sent]
    apart = 1000 * np.array([a - b for (a, _), (b, _) in zip(pictures.sent, heard, strict=True)])
    first, last = np.median(apart[:250]), np.median(apart[-250:])
    rate = (len(pictures.sent) - 1) / (pictures.sent[-1][0] - pictures.sent[0][0])
    print(
        f"\nfive minutes: drift {last - first:+.2f} ms, p95 apart {np.quantile(np.abs(apart), 0.95):.1f} ms, "
        f"{rate:.3f} fps"
    )
    assert abs(last - first) <= 20


@pytest.mark.asyncio
async def test_a_pause_stops_media_time_and_is_followed_by_no_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TestClock()
    playout = Playout(NullEncoder(clock), FPS, freed=lambda: None, clock=clock)  # type: ignore[arg-type]
    pictures = Sent(playout.broadcast, clock, monkeypatch)
    playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=i) for i in range(40))
    released_while_held = []

    def shown(frame: Shown, number: int) -> None:
        playout.hold(held=number == 20)
        if number == 39:
            playout.end()

    def waited() -> None:
        released_while_held.append(playout.released)
        if len(released_while_held) == 40:  # ten seconds
            playout.hold(held=False)

    playout.watch(shown)
    clock.waited = waited
    playout.hold(held=False)
    await playout.run()
    assert set(released_while_held) == {21}
    assert [pts for _, pts in pictures.sent] == [i * TICKS // FPS for i in range(40)]
    steps = [b - a for (a, _), (b, _) in itertools.pairwise(pictures.sent)]
    assert steps.pop(20) > 9
    assert min(steps) > 0.5 / FPS


class Tone:
    """Give the sound of a film that never ends."""

    def frame(self, number: int) -> np.ndarray:
        return np.full(FRAME, 1000, np.int16)

    def audible(self, number: int) -> bool:
        return True

    def hush(self) -> None:
        """Go on all the same."""


@pytest.mark.asyncio
@pytest.mark.parametrize(("encoding", "share"), [(0.06, 0.0), (0.16, 0.5)], ids=["at times", "for most pictures"])
async def test_sound_stays_in_time_where_encoding_is_too_slow_and_pictures_are_left_out(
    monkeypatch: pytest.MonkeyPatch, encoding: float, share: float
) -> None:
    asyncio.get_running_loop().set_default_executor(InlineExecutor())
    clock = TestClock()

    class SlowEncoder(NullEncoder):
        def encode(self, picture: np.ndarray, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
            clock.works(encoding)  # up to so many seconds, of the 0.04 that a frame has
            return super().encode(picture, pts, keyframe=keyframe)

    playout = Playout(SlowEncoder(clock), FPS, freed=lambda: None, clock=clock, sound=True)  # type: ignore[arg-type]
    assert playout.sound is not None
    sounds, pictures = (Sent(b, clock, monkeypatch) for b in (playout.sound, playout.broadcast))
    playout.film_sound = Tone()
    playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=i) for i in range(60 * FPS))
    playout.watch(lambda shown, number: playout.end() if number >= 60 * FPS - 1 else None)
    playout.hold(held=False)
    await playout.run()
    late = [time - pts / TICKS for time, pts in sounds.sent]
    assert max(late) - min(late) < 0.3
    assert playout.dropped == 60 * FPS - len(pictures.sent)
    assert share * 60 * FPS <= playout.dropped < 60 * FPS / 1.2


@pytest.mark.asyncio
async def test_after_a_stall_the_sound_is_in_time_again_and_a_long_one_moves_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncio.get_running_loop().set_default_executor(InlineExecutor())
    clock, stalls = TestClock(), {100: 0.8, 600: 5.0}
    playout = Playout(NullEncoder(clock), FPS, freed=lambda: None, clock=clock, sound=True)  # type: ignore[arg-type]
    assert playout.sound is not None
    sounds = Sent(playout.sound, clock, monkeypatch)
    playout.film_sound = Tone()
    playout.add(Shown(np.zeros((32, 32, 3), np.uint8), 0, frame=i) for i in range(1000))

    def watch(shown: Shown, number: int) -> None:
        clock.now += stalls.get(number, 0.0)
        if number >= 999:
            playout.end()

    playout.watch(watch)
    playout.hold(held=False)
    await playout.run()
    late = [time - pts / TICKS for time, pts in sounds.sent[::2]]
    assert late[300] - late[50] < 0.05
    assert 4 < late[900] - late[50] < 5.1
