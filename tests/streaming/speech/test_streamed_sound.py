"""Test in simulated time what becomes of an utterance that breaks off, is refused, interrupted or cleared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from simulated_films import Film, rendered, simulated
from speakers import as_samples, tone
from starlette.websockets import WebSocket

from streaming.live.session import Session
from streaming.speech.avatar import Avatar, Place
from streaming.speech.fullband import FRAME, RATE, Samples
from streaming.speech.spoken_text import speak_text
from streaming.speech.utterance import Utterance
from streaming.speech.voices.text_voice import TextVoice, VoiceError, VoiceWish
from streaming.take.take_file import load as load_take
from streaming.transport.sound_socket import SoundSocket

DRAWING = 0.15  # seconds that a chunk takes to draw
SLOW = 0.9  # the same, twice as long as it is shown
WORDS = " ".join(f"w{n}" for n in range(24))


class Line:
    """Stand for the socket of a sender, which sends and hears what a test says."""

    def __init__(self, session: Session, avatar: Avatar) -> None:
        self.told: list[dict[str, Any]] = []
        self._sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._serving = asyncio.create_task(SoundSocket(cast(WebSocket, self), session, avatar).run())

    def tell(self, **message: Any) -> None:
        self._sent.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    def write(self, seconds: float) -> None:
        pcm = as_samples(tone(seconds, rate=24_000)).tobytes()
        for at in range(0, len(pcm), 9600):
            self._sent.put_nowait({"type": "websocket.receive", "bytes": pcm[at : at + 9600]})

    async def hang_up(self) -> None:
        self._sent.put_nowait({"type": "websocket.disconnect"})
        await self._serving

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self.told if event["type"] in types]

    async def receive(self) -> dict[str, Any]:
        return await self._sent.get()

    async def send_text(self, text: str) -> None:
        self.told.append(json.loads(text))

    async def close(self) -> None:
        pass


def ended(film: Film) -> list[tuple[str, str, float, int]]:
    """Return name, reason, seconds and number of words of each utterance that has ended."""
    return [(e.utterance, e.why, e.seconds, len(e.text.split())) for e in film.events if e.type == "utterance.ended"]


def test_an_utterance_whose_socket_is_lost_claims_no_words_that_were_not_sent() -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        line = Line(session, avatar)
        line.tell(type="start", utterance="a")
        line.tell(type="text", text=WORDS)
        line.write(2.4)
        await asyncio.sleep(0.1)
        await line.hang_up()
        await asyncio.sleep(5)
        assert ended(film) == [("a", "lost", 2.4, 6)]

    simulated(DRAWING, None, test)


def test_a_commit_that_comes_too_early_claims_no_more_words_than_can_be_said() -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        line = Line(session, avatar)
        for name, text in (("a", WORDS), ("b", "Good evening.")):
            line.tell(type="start", utterance=name)
            line.tell(type="text", text=text)
            line.write(1.0 if name == "a" else 0.5)
            line.tell(type="commit")
        await asyncio.sleep(6)
        assert ended(film) == [("a", "complete", 1.0, 6), ("b", "complete", 0.5, 2)]
        assert [(e["utterance"], e["sample"]) for e in line.of("committed")] == [("a", 24_000), ("b", 12_000)]

    simulated(DRAWING, None, test)


@pytest.mark.parametrize("wrong", [{"utterance": "b", "rate": 22_050}, {"utterance": "c"}, {"utterance": "b", "x": 1}])
def test_a_start_that_is_refused_ends_the_utterance_before_it_and_nothing_is_spoken_inside_that(
    wrong: dict[str, Any],
) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        line = Line(session, avatar)
        avatar.begin(Utterance("c"))
        avatar.cancel(avatar.find("c") or Utterance("-"))
        waits = Utterance("c")
        line.tell(type="start", utterance="a")
        line.write(1.0)
        await asyncio.sleep(0.1)
        avatar.begin(waits)
        line.tell(type="start", **wrong)
        line.tell(type="text", text="This is refused.")
        line.write(1.0)
        line.tell(type="commit")
        await asyncio.sleep(4)
        avatar.commit(waits)
        assert ended(film)[1:] == [("a", "complete", 1.0, 0), ("c", "complete", 0.0, 0)]
        assert [e.get("utterance") for e in line.of("refused")] == [wrong["utterance"]]
        line.tell(type="start", utterance="d")
        line.write(0.5)
        line.tell(type="commit")
        await asyncio.sleep(3)
        assert ended(film)[-1][:3] == ("d", "complete", 0.5)

    simulated(DRAWING, None, test)


def test_what_is_still_sent_of_an_interrupted_utterance_is_refused_once_and_by_its_name() -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        line = Line(session, avatar)
        line.tell(type="start", utterance="a")
        line.write(4)
        await asyncio.sleep(2)
        line.tell(type="interrupt")
        for _ in range(80):
            line.write(0.1)
        line.tell(type="commit")
        await asyncio.sleep(1)
        (refused,) = line.of("refused")
        assert (refused["utterance"], refused["why"]) == ("a", "the utterance a has ended: interrupted")
        line.tell(type="commit")
        line.tell(type="cancel")
        await asyncio.sleep(0.1)
        assert line.of("refused")[1:] == [
            {
                "type": "refused",
                "id": None,
                "why": "no utterance that was begun here is being spoken or waits",
                "utterance": "a",
            }
        ]

    simulated(DRAWING, None, test)


class FailingVoice(TextVoice):
    """Says a second of each sentence, and then fails."""

    async def speak(self, text: str, wish: VoiceWish) -> AsyncIterator[Samples]:
        yield as_samples(tone(1.0))
        raise VoiceError("the voice has a cold")


def test_a_text_whose_voice_fails_is_lost_behind_what_it_said() -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        with pytest.raises(VoiceError, match="cold"):
            await speak_text(avatar, Utterance("a"), Place.APPEND, WORDS, FailingVoice(), VoiceWish())
        await asyncio.sleep(4)
        assert ended(film) == [("a", "lost", 1.0, 2)]

    simulated(DRAWING, None, test)


class WillingVoice(TextVoice):
    """Says each sentence in 0.3 seconds."""

    async def speak(self, text: str, wish: VoiceWish) -> AsyncIterator[Samples]:
        yield as_samples(tone(0.3))


def test_every_sentence_of_a_text_is_a_caption_at_its_first_sample_behind_a_quarter_of_a_second() -> None:
    text = 'She said: "Well\u2026" Did she? (Yes!) \u2013 3.5 times. \u597d\u3002 \u771f\uff1f Good'
    wanted = ['She said: "Well\u2026"', "Did she?", "(Yes!)", "\u2013 3.5 times."]
    wanted += ["\u597d\u3002", "\u771f\uff1f", "Good"]

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        await speak_text(avatar, Utterance("a"), Place.APPEND, text, WillingVoice(), VoiceWish())
        await asyncio.sleep(8)
        captions = [(e.text, e.seconds) for e in film.events if e.type == "caption"]
        assert captions == [(sentence, round(0.55 * n, 2)) for n, sentence in enumerate(wanted)]
        assert ended(film) == [("a", "complete", pytest.approx(7 * 0.3 + 6 * 0.25), 12)]

    simulated(DRAWING, None, test)


@pytest.mark.parametrize("drawing", [DRAWING, SLOW])
def test_clear_drops_what_is_not_heard_yet_although_it_was_handed_over(tmp_path: Path, drawing: float) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        voices = [as_samples(tone(seconds, hertz)) for seconds, hertz in ((1.2, 200), (0.2, 900), (1.0, 500))]
        utterances = [Utterance(name) for name in "abc"]
        for utterance, voice in zip(utterances, voices, strict=True):
            utterance.add(voice)
            avatar.begin(utterance)
            avatar.commit(utterance)
        while not utterances[1].given:
            await asyncio.sleep(0.01)
        assert utterances[1].played == 0
        assert [part.utterance for part in avatar.clear()] == ["b", "c"]
        await asyncio.sleep(4)
        assert [e[:3] for e in ended(film)] == [("b", "cleared", 0), ("c", "cleared", 0), ("a", "complete", 1.2)]
        sound = film.sound()
        begin = np.flatnonzero(sound)[0] - 1
        assert np.array_equal(sound[begin : begin + len(voices[0])], voices[0])
        assert not sound[begin + len(voices[0]) :].any()

    session = simulated(drawing, tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert rendered(take, tmp_path) == session.history.hashes


@pytest.mark.parametrize("drawing", [DRAWING, SLOW])
def test_an_avatar_is_said_to_speak_from_its_first_sound_on(drawing: float) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        before = len(film.frames)
        avatar.say(as_samples(tone(1.0)))
        while avatar.state != "speaking":
            assert avatar.to_say > 0  # so that whoever asks knows that something follows
            assert not any(shown.sound.any() for _, shown in film.frames[before:])
            await asyncio.sleep(0.01)
        assert film.frames[-1][1].sound.any()
        assert avatar.to_say == pytest.approx(1.0, abs=2 * FRAME / RATE)
        await asyncio.sleep(4)
        assert [e.state for e in film.events if e.type == "avatar"] == ["speaking", "idle"]
        assert avatar.to_say == 0

    simulated(drawing, None, test)
