"""Texts are encoded in order, without holding up other sessions, and no more than a bound wait."""

from __future__ import annotations

import asyncio
import threading

import pytest
from clocks import turn
from conftest import tiny_model
from sessions import TAKE, say, until
from torch import Tensor

from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.live.text_queue import MOST, TextQueue
from streaming.transport.commands import ControlError
from streaming.transport.events import Event

pytestmark = pytest.mark.asyncio


async def test_another_sessions_work_waits_for_one_text_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    device, model, may_work = DeviceThread(), tiny_model(), threading.Event()
    encode, encoded, events = model.generator.text, list[str](), list[Event]()

    def noted(text: str) -> Tensor:
        encoded.append(text)
        return encode(text)

    monkeypatch.setattr(model.generator, "text", noted)
    blocked = asyncio.create_task(device.run(lambda: may_work.wait(20)))
    queue = TextQueue(model, device, events.append)
    running = asyncio.create_task(queue.run())
    for number in range(5):
        queue.add(f"text {number}", number)
    await turn()  # the queue hands its first text to the device
    others = asyncio.create_task(device.run(lambda: len(encoded)))
    await turn()
    may_work.set()
    assert await others == 1
    await until(lambda: len(events) == 5)
    assert [event.wire()["id"] for event in events] == [0, 1, 2, 3, 4]
    running.cancel()
    await asyncio.gather(running, blocked, return_exceptions=True)
    device.close()


async def test_a_prompt_whose_text_cannot_wait_is_refused_and_does_not_land() -> None:
    device = DeviceThread()
    session = Session(tiny_model(), TAKE, device)  # not started, so that nothing is encoded
    for number in range(MOST):
        say(session, number, type="prepare", text="two")
    with pytest.raises(ControlError, match="too many texts"):
        say(session, MOST, type="prepare", text="two")
    with pytest.raises(ControlError, match="too many texts"):
        say(session, MOST, type="prompt", text="two")
    with pytest.raises(ControlError, match="nothing to undo"):
        say(session, MOST + 1, type="undo")
    await session.close()
    device.close()
