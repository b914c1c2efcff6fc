"""Test what is told of each utterance: when it begins, how far it was heard, and why it ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from clocks import LoopClock
from conftest import tiny_avatar
from simulated_time import SimulatedLoop
from speakers import PORTRAIT, TAKE, as_samples, tone

from streaming.live.device import DeviceThread
from streaming.live.session import Session
from streaming.speech.avatar import Avatar, Place
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.speech_queue import SpeechQueueError
from streaming.speech.utterance import Utterance
from streaming.transport.events import Event

UNTIL_END = ("utterance.started", "utterance.ended", "caption", "interrupted")


def simulated(test: Callable[[Session, Avatar, list[tuple[float, Event]], list[np.ndarray]], Any]) -> None:
    """Run a test with a session in simulated time, its events with their times, and the sound of each frame."""

    async def run() -> None:
        device, model = DeviceThread(), tiny_avatar()
        session = Session(model, TAKE, device, clock=LoopClock(), avatar=partial(Avatar, model, PORTRAIT, None))
        avatar = session.avatar
        assert avatar is not None
        events: list[tuple[float, Event]] = []
        sounds: list[np.ndarray] = []
        loop = asyncio.get_running_loop()
        session.listen(lambda event: events.append((loop.time(), event)))
        session.playout.watch(lambda frame, number: sounds.append(frame.sound))
        session.start()
        try:
            await asyncio.sleep(1)
            await test(session, avatar, events, sounds)
        finally:
            await session.close()
            device.close()

    loop = partial(SimulatedLoop, encoding=0.01, drawing=0.15, late=True)
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


def whole(name: str, seconds: float, text: str = "", rate: int = RATE) -> Utterance:
    utterance = Utterance(name, rate)
    if text:
        utterance.caption(text)
    utterance.add(as_samples(tone(seconds)))
    return utterance


def spoken(avatar: Avatar, utterance: Utterance, place: Place = Place.APPEND) -> None:
    avatar.begin(utterance, place)
    avatar.commit(utterance)


def told(events: list[tuple[float, Event]], *types: str) -> list[Any]:
    return [event for _, event in events if event.type in types]


def test_utterances_are_told_from_their_first_sample_to_their_last_with_captions_between() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        both = whole("a", 1.0, "Good evening.", rate=24_000)
        both.caption("How are you?")
        both.add(as_samples(tone(1.0, 330)))
        spoken(avatar, both)
        spoken(avatar, whole("b", 0.5))
        await asyncio.sleep(4)
        got = [(e.type, e.utterance) for e in told(events, *UNTIL_END)]
        assert got == [
            ("utterance.started", "a"),
            ("caption", "a"),
            ("caption", "a"),
            ("utterance.ended", "a"),
            ("utterance.started", "b"),
            ("utterance.ended", "b"),
        ]
        ended = told(events, "utterance.ended")
        assert [(e.sample, e.seconds, e.why, e.text) for e in ended] == [
            (48_000, 2.0, "complete", "Good evening. How are you?"),
            (24_000, 0.5, "complete", ""),
        ]
        assert [e.seconds for e in told(events, "caption")] == [0, 1]
        spots = [e.sample for e in told(events, "utterance.spoken") if e.utterance == "a"]
        steps = [b - a for a, b in itertools.pairwise([0, *spots])]  # four a second, at 24 kHz
        assert all(RATE // 8 <= step <= (RATE // 4 + FRAME) // 2 for step in steps)
        assert len(steps) == 7
        begins = next(at for at, e in events if e.type == "utterance.started")
        second = next(at for at, e in events if e.type == "caption" and e.text == "How are you?")
        assert second - begins == pytest.approx(1, abs=0.05)

    simulated(test)


@pytest.mark.parametrize(("delay", "moment"), [(None, 0.005), (0.1, 0.015), (None, 0.035)])  # halves of a frame leave
def test_an_interruption_tells_to_the_sample_how_much_of_which_utterance_was_heard(
    delay: float | None, moment: float
) -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        if delay is not None:
            avatar.add_listener(lambda: delay)
        spoken(avatar, whole("a", 3.0, "one two three four five six"))
        spoken(avatar, whole("b", 1.0, "seven"))
        await asyncio.sleep(2 + moment)
        before = len(sounds)
        heard = avatar.interrupt("asked to")
        await asyncio.sleep(1)
        film = np.concatenate(sounds)
        begin, end = np.flatnonzero(film)[[0, -1]] + [-1, 1]  # the tone begins with 0
        assert not np.concatenate(sounds[before + 1 :]).any()
        assert [part.utterance for part in heard] == ["a", "b"]
        assert heard[0].sample == pytest.approx(end - begin, abs=1)  # and may end with 0
        words = round(6 * heard[0].sample / (3 * RATE))
        assert heard[0].text.split() == ["one", "two", "three", "four", "five", "six"][:words]
        assert (heard[1].sample, heard[1].text) == (0, "")
        assert told(events, "interrupted")[0].heard == heard
        assert [e.why for e in told(events, "utterance.ended")] == ["interrupted", "interrupted"]

    simulated(test)


def test_what_is_heard_is_told_later_by_the_delay_of_the_nearest_viewer() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        times: list[float] = []
        loop = asyncio.get_running_loop()
        session.playout.watch(lambda frame, number: times.append(loop.time()) if frame.sound.any() else None)
        avatar.add_listener(lambda: 0.3)
        leave = avatar.add_listener(lambda: 0.2)
        spoken(avatar, whole("a", 0.4))
        await asyncio.sleep(2)
        at = next(at for at, e in events if e.type == "utterance.started")
        assert 0.199 < at - times[0] < 0.251
        assert told(events, "utterance.spoken")[0].viewers == 2
        leave()
        events.clear()
        times.clear()
        spoken(avatar, whole("b", 0.4))
        await asyncio.sleep(2)
        at = next(at for at, e in events if e.type == "utterance.started")
        assert 0.299 < at - times[0] < 0.351

    simulated(test)


def test_nothing_counts_as_heard_while_nothing_arrives_at_the_viewer() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        avatar.add_listener(lambda: None)
        spoken(avatar, whole("a", 0.5, "hello"))
        await asyncio.sleep(2)
        ended = told(events, "utterance.ended")
        assert [(e.sample, e.text, e.why) for e in ended] == [(0, "", "complete")]
        spoken(avatar, whole("b", 2.0, "hello"))
        await asyncio.sleep(1)
        assert [(part.sample, part.text) for part in avatar.interrupt("asked to")] == [(0, "")]

    simulated(test)


def test_an_utterance_whose_end_is_told_late_has_ended_once_it_was_heard_and_not_when_it_was_played() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        avatar.add_listener(lambda: 0.5)
        utterance = whole("a", 0.4)
        avatar.begin(utterance)
        while utterance.played < utterance.arrived:
            await asyncio.sleep(0.01)
        avatar.commit(utterance)
        assert utterance.heard < utterance.arrived
        await asyncio.sleep(1)
        (ended,) = told(events, "utterance.ended")
        assert (ended.sample, ended.why) == (utterance.arrived, "complete")

    simulated(test)


def test_a_replacement_interrupts_and_a_cleared_queue_lets_the_present_one_end() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        spoken(avatar, whole("a", 3.0))
        spoken(avatar, whole("b", 1.0))
        spoken(avatar, whole("c", 1.0))
        await asyncio.sleep(1.5)
        assert [part.utterance for part in avatar.clear()] == ["b", "c"]
        await asyncio.sleep(3)
        ended = [(e.utterance, e.why) for e in told(events, "utterance.ended")]
        assert ended == [("b", "cleared"), ("c", "cleared"), ("a", "complete")]
        events.clear()
        spoken(avatar, whole("d", 3.0))
        spoken(avatar, whole("e", 1.0))
        await asyncio.sleep(1.5)
        spoken(avatar, whole("f", 0.5), Place.REPLACE)
        await asyncio.sleep(3)
        ended = [(e.utterance, e.why) for e in told(events, "utterance.ended")]
        assert ended == [("d", "replaced"), ("e", "replaced"), ("f", "complete")]

    simulated(test)


def test_a_cancelled_utterance_leaves_those_behind_it() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        a, b, c = whole("a", 3.0), whole("b", 1.0), whole("c", 1.0)
        for utterance in (a, b, c):
            spoken(avatar, utterance)
        await asyncio.sleep(1.5)
        avatar.cancel(b)
        avatar.cancel(a)
        await asyncio.sleep(3)
        ended = [(e.utterance, e.why, e.sample) for e in told(events, "utterance.ended")]
        assert [e[:2] for e in ended] == [("b", "cancelled"), ("a", "cancelled"), ("c", "complete")]
        assert ended[2][2] == RATE

    simulated(test)


def test_an_utterance_that_arrives_in_pieces_is_spoken_without_a_gap_and_ends_with_its_commit() -> None:
    async def test(session: Session, avatar: Avatar, events: list[Any], sounds: list[Any]) -> None:
        utterance, voice = Utterance("a"), as_samples(tone(3.0))
        avatar.begin(utterance)
        with pytest.raises(SpeechQueueError, match="named a is being spoken or waits already"):
            avatar.begin(Utterance("a"))
        for at in range(0, len(voice), RATE // 50):
            avatar.add(utterance, voice[at : at + RATE // 50])
            await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert not told(events, "utterance.ended")
        avatar.commit(utterance)
        await asyncio.sleep(1)
        assert [(e.why, e.sample) for e in told(events, "utterance.ended")] == [("complete", len(voice))]
        heard = np.concatenate(sounds)
        begin = np.flatnonzero(heard)[0] - 1
        assert np.array_equal(heard[begin : begin + len(voice)], voice)
        with pytest.raises(SpeechQueueError, match="has ended: complete"):
            avatar.add(utterance, voice)

    simulated(test)
