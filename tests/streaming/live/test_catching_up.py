"""A continued take draws its past while the device has time for it, so that the sessions beside it stay live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from clocks import LoopClock, TestClock, in_virtual_time
from conftest import tiny_model
from sessions import TAKE

from models.cue import Cue
from streaming.live.admission import SessionRegistry
from streaming.live.catching_up import CatchUpPace
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.rollout import Chunk, Rollout
from streaming.take.history import TakeHistory

FPS, CHUNK = 16, 12 / 16  # of the tiny model: frames a second, and seconds that a chunk plays
COST = 0.3 * CHUNK  # seconds that the device takes for a chunk
PAST = 36  # latents: 9 s


class SlowDevice(DeviceThread):
    """Take COST of the event loop's time for each chunk, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()

    async def run(self, job: Callable[[], Any]) -> Any:
        async with self._turn:
            result = job()
            if isinstance(result, Chunk):
                await asyncio.sleep(COST)
            return result


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Rollout.step

    def slowly(rollout: Rollout, extra: Sequence[Cue] = (), may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        chunk = step(rollout, extra, may_go_on)
        chunk.seconds.update(draw=COST, decode=0.0)
        return chunk

    monkeypatch.setattr(Rollout, "step", slowly)


async def drawn(sessions: SessionRegistry, latents: int) -> TakeHistory:
    """Return a take of at least so many latents, drawn by a session that has ended."""
    session = (await sessions.create(TAKE, LookAhead.SMOOTH)).session
    while session.index < latents:
        await asyncio.sleep(CHUNK)
    await sessions.end(session.id)
    return session.history


def registry() -> SessionRegistry:
    async def load(name: str) -> Any:
        return tiny_model()

    return SessionRegistry(load, SlowDevice(), clock=LoopClock())


async def caught_up(session: Session) -> float:
    """Return the seconds until the session has drawn its past."""
    began = asyncio.get_running_loop().time()
    while session.producer.catching_up is not None:
        await asyncio.sleep(0.01)
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize("look_ahead", [LookAhead.INSTANT, LookAhead.SMOOTH])
def test_a_neighbour_shows_every_frame_in_time_while_a_past_is_drawn_faster_than_real_time(
    look_ahead: LookAhead,
) -> None:
    async def both() -> None:
        sessions, loop = registry(), asyncio.get_running_loop()
        past = await drawn(sessions, PAST)
        beside = (await sessions.create(TAKE, look_ahead)).session
        shown: list[float] = []
        beside.playout.watch(lambda frame, number: shown.append(loop.time()))
        await asyncio.sleep(3)
        began = len(shown)
        again = (await sessions.create(past.take, LookAhead.SMOOTH, past=past)).session
        seconds = await caught_up(again)
        gaps = [b - a for a, b in zip(shown[began - 1 :], shown[began:], strict=False)]
        assert len(gaps) > FPS
        assert max(gaps) < 1.5 / FPS
        assert COST / CHUNK < seconds / (past.length / 3 * CHUNK) < 0.75
        for session in (beside, again):
            await sessions.end(session.id)
        sessions.device.close()

    in_virtual_time(both())


def test_a_past_is_drawn_at_full_speed_where_nothing_else_runs() -> None:
    async def alone() -> None:
        sessions = registry()
        past = await drawn(sessions, PAST)
        again = (await sessions.create(past.take, LookAhead.SMOOTH, past=past)).session
        assert await caught_up(again) == pytest.approx(past.length / 3 * COST, rel=0.05)
        await sessions.end(again.id)
        sessions.device.close()

    in_virtual_time(alone())


def test_a_past_is_drawn_as_fast_as_it_plays_where_the_device_has_no_time_to_spare() -> None:
    clock = TestClock()
    pace = CatchUpPace(CHUNK, lambda: False, clock)
    begun = 0
    while clock.now < 10.5 * CHUNK:
        delay = pace.delay()
        begun += delay == 0
        clock.now += delay or COST
    assert begun == 10
