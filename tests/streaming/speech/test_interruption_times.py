"""Test in simulated time that an avatar is silent, and reports it, from any moment of an interruption on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from clocks import LoopClock
from conftest import tiny_avatar
from simulated_time import SimulatedLoop
from speakers import PORTRAIT, TAKE, as_samples, tone

from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.live.session_state import AvatarState
from streaming.speech.avatar import Avatar

BUSY = {"a slow encoder": (0.035, 0.15), "a slow model": (0.015, 0.6)}  # seconds that a frame and a chunk take


@asynccontextmanager
async def speaking() -> AsyncIterator[tuple[Session, Avatar, list[tuple[int, bool]]]]:
    """Run a session; yield it with its avatar and the number of each frame with whether it had sound."""
    device, model = DeviceThread(), tiny_avatar()
    session = Session(model, TAKE, device, clock=LoopClock(), avatar=partial(Avatar, model, PORTRAIT, None))
    assert session.avatar is not None
    shown: list[tuple[int, bool]] = []
    session.playout.watch(lambda frame, number: shown.append((number, bool(frame.sound.any()))))
    session.start()
    try:
        yield session, session.avatar, shown
    finally:
        await session.close()
        device.close()


def simulated(machine: str, test: Callable[[], Coroutine[Any, Any, None]], *, late: bool) -> None:
    encoding, drawing = BUSY[machine]
    loop = partial(SimulatedLoop, encoding=encoding, drawing=drawing, late=late)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test())


@pytest.mark.parametrize("machine", BUSY)
@pytest.mark.parametrize("late", [False, True], ids=["the chunk is finished", "the chunk is given up"])
def test_an_interrupted_avatar_is_idle_at_once_and_stays_idle(machine: str, late: bool) -> None:
    """Interrupt at a different moment of a chunk and of a frame each time, also while either is being made."""

    async def test() -> None:
        async with speaking() as (session, avatar, shown):
            for moment in range(8):
                await asyncio.sleep(0.313)
                avatar.say(as_samples(tone(6)))
                assert avatar.has_to_say
                await asyncio.sleep(0.9 + 0.117 * moment)
                released = session.playout.released
                avatar.interrupt("asked to")
                states = {avatar.state}
                for _ in range(70):
                    await asyncio.sleep(0.01)
                    states.add(avatar.state)
                assert states == {AvatarState.IDLE}, f"in round {moment}"
                assert not any(loud for number, loud in shown if number >= released)
            assert any(loud for _, loud in shown)

    simulated(machine, test, late=late)


@pytest.mark.parametrize("machine", BUSY)
def test_last_words_are_silenced_too_although_the_silence_behind_them_was_handed_over(machine: str) -> None:
    async def test() -> None:
        async with speaking() as (session, avatar, shown):
            await asyncio.sleep(2)
            for frames in range(26, 38, 2):  # ends anywhere in a chunk of 12
                avatar.say(as_samples(tone(frames / 25)))
                while avatar.state is not AvatarState.SPEAKING:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(frames / 25 - 0.2)
                released = session.playout.released
                (heard,) = avatar.interrupt("asked to")
                assert heard.seconds < frames / 25 - 0.1
                await asyncio.sleep(2)
                assert not any(loud for number, loud in shown if number > released), f"with {frames} frames"

    simulated(machine, test, late=True)


@pytest.mark.parametrize("machine", BUSY)
def test_an_avatar_that_is_interrupted_before_its_first_frame_is_idle_at_once(machine: str) -> None:
    async def test() -> None:
        async with speaking() as (session, avatar, shown):
            avatar.say(as_samples(tone(6)))
            await asyncio.sleep(0.02)
            avatar.interrupt("asked to")
            assert session.playout.released == 0
            assert avatar.state is AvatarState.IDLE
            await asyncio.sleep(3)
            assert avatar.state is AvatarState.IDLE
            assert shown
            assert not any(loud for _, loud in shown)

    simulated(machine, test, late=True)


@pytest.mark.parametrize("machine", BUSY)
def test_an_avatar_is_idle_again_a_third_of_a_second_after_its_last_sound(machine: str) -> None:
    async def test() -> None:
        async with speaking() as (_, avatar, shown):
            await asyncio.sleep(2)
            avatar.say(as_samples(tone(1)))
            while avatar.has_to_say or avatar.state is AvatarState.SPEAKING:
                await asyncio.sleep(0.01)
            last = max(number for number, loud in shown if loud)
            assert shown[-1][0] - last == 8

    simulated(machine, test, late=True)
