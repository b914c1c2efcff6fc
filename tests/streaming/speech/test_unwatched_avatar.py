"""A session that nobody watches says all that it was given before it ends."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest
from conftest import tiny_avatar
from speakers import PORTRAIT, TAKE, Watcher, as_samples, tone, until

from models.checkpoints.assemble import Model
from streaming.live.admission import SessionRegistry
from streaming.live.device import DeviceThread
from streaming.live.session_state import SessionState
from streaming.transport.commands import parse

pytestmark = pytest.mark.asyncio


async def load(name: str) -> Model:
    return tiny_avatar()


async def test_sound_that_was_queued_is_spoken_whole_and_the_session_ends_a_grace_period_later() -> None:
    device = DeviceThread()
    sessions = SessionRegistry(load, device, grace=0.2)
    hosted = await sessions.create_avatar(TAKE, PORTRAIT, None)
    watcher, avatar = Watcher(hosted.session), hosted.session.avatar
    assert avatar is not None
    said = as_samples(tone(1.5))
    for _ in range(2):
        avatar.say(said)
    tidying = asyncio.create_task(sessions.run())  # once a second
    await until(lambda: not sessions.hosted)
    assert np.count_nonzero(watcher.sound()) == 2 * np.count_nonzero(said)
    tidying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tidying
    device.close()


async def test_a_paused_avatar_with_more_to_say_ends_a_grace_period_after_its_last_command() -> None:
    device = DeviceThread()
    sessions = SessionRegistry(load, device, grace=0.2)
    hosted = await sessions.create_avatar(TAKE, PORTRAIT, None)
    session, avatar = hosted.session, hosted.session.avatar
    assert avatar is not None
    await until(lambda: session.state is SessionState.LIVE)
    avatar.say(as_samples(tone(1.5)))
    session.obey(parse('{"id": 1, "type": "pause"}'))
    tidying = asyncio.create_task(sessions.run())  # once a second
    await until(lambda: not sessions.hosted)
    assert avatar.has_to_say
    tidying.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tidying
    device.close()
