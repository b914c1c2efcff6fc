"""Texts are encoded in order, without holding up other sessions, and no more than a bound wait."""

from __future__ import annotations

import asyncio
import threading

import pytest
from clocks import turn
from conftest import tiny_model
from sessions import TAKE, replayed, running, say, until
from torch import Tensor

from models.text.prompt_reading import PromptError
from models.transformer import TextState
from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.live.session_state import SessionState
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
    encoding = asyncio.create_task(queue.run())
    for number in range(5):
        queue.add(f"text {number}", number, print)
    await turn()  # the queue hands its first text to the device
    others = asyncio.create_task(device.run(lambda: len(encoded)))
    await turn()
    may_work.set()
    assert await others == 1
    await until(lambda: len(events) == 5)
    assert [event.wire()["id"] for event in events] == [0, 1, 2, 3, 4]
    encoding.cancel()
    await asyncio.gather(encoding, blocked, return_exceptions=True)
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


async def test_a_text_that_cannot_be_encoded_is_refused_in_one_line_and_the_take_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model()
    encode = model.generator.text

    def failing(text: str) -> TextState:
        if "broken" in text:
            raise MemoryError("CUDA out of memory\nand much more")
        return encode(text)

    monkeypatch.setattr(model.generator, "text", failing)
    async with running(model=model) as (session, events):
        await until(lambda: session.playout.released > 3)
        say(session, 1, type="prompt", text="broken", cut=True)
        say(session, 2, type="seed", seed=3)
        say(session, 3, type="prepare", text="broken too")
        say(session, 4, type="pause")
        await until(lambda: len([e for e in events if e.type == "refused"]) == 2)
        say(session, 5, type="prompt", text="broken")  # refused although no chunk is drawn
        await until(lambda: len([e for e in events if e.type == "refused"]) == 3)
        say(session, 6, type="resume")
        say(session, 7, type="prompt", text="two")
        await until(lambda: 7 in [e.id for e in events if e.type == "live"])
        refused = [(e.id, e.why) for e in events if e.type == "refused"]
        assert sorted(number for number, _ in refused) == [1, 3, 5]
        assert {why for _, why in refused} == {"the prompt is not drawn: its text encoder failed (MemoryError)"}
        await until(lambda: session.history.landed[-1].prompt == "two")
        assert [(e.prompt, e.seed) for e in session.history.landed] == [("one", None), (None, 3), ("two", None)]
        assert session.state is SessionState.LIVE
    assert replayed(session.take()) == session.history.hashes


async def test_a_prompt_that_fails_as_its_chunk_is_drawn_is_refused_once_and_other_cues_land(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, may_encode = tiny_model(), threading.Event()
    encode = model.generator.text

    def failing(text: str) -> TextState:
        if text == "slow":
            assert may_encode.wait(20)
        if text == "broken":
            raise PromptError("this text encoder knows no word of it")
        return encode(text)

    monkeypatch.setattr(model.generator, "text", failing)
    async with running(model=model) as (session, events):
        await until(lambda: session.playout.released > 3)
        say(session, 1, type="prepare", text="slow")
        say(session, 2, type="prompt", text="broken")
        say(session, 3, type="seed", seed=3)
        await until(lambda: not len(session.playout))  # so that the chunk waits for the device behind the slow text
        may_encode.set()
        await until(lambda: 3 in [e.id for e in events if e.type == "live"])
        say(session, 4, type="prepare", text="two")
        await until(lambda: 4 in [e.id for e in events if e.type == "encoded"])
        refused = [(e.id, e.why) for e in events if e.type == "refused"]
        assert refused == [(2, "the prompt is not drawn: this text encoder knows no word of it")]
        assert session.state is SessionState.LIVE
