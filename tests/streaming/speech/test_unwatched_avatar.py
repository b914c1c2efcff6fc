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

pytestmark = pytest.mark.asyncio


async def test_sound_that_was_queued_is_spoken_whole_and_the_session_ends_a_grace_period_later() -> None:
    async def load(name: str) -> Model:
        return tiny_avatar()

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
