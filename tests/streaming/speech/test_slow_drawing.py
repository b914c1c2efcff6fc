"""Test in simulated time that an avatar's voice goes on in time where drawing is slow, and what its take records."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_avatar
from simulated_films import Film, rendered, simulated
from simulated_time import SimulatedLoop
from speakers import as_samples, tone

from models.time_grid import frames_before
from streaming.live.session import Session
from streaming.speech.avatar import Avatar
from streaming.speech.avatar_film import job_of_take
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.utterance import Utterance
from streaming.take.take_file import load as load_take

CHUNK_SECONDS = 12 / 25
# seconds that a chunk takes to draw, and again to settle
SPEEDS = {"half real time": CHUNK_SECONDS, "a little too slow": 0.6 * CHUNK_SECONDS, "fast": 0.15 * CHUNK_SECONDS}


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_sound_has_no_gap_and_loses_no_word_however_slow_drawing_is(speed: str) -> None:
    words = [as_samples(tone(0.4, 300 + 100 * n)) for n in range(6)]
    said = np.concatenate([np.concatenate([word, np.zeros(RATE // 5, np.int16)]) for word in words])

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        avatar.say(said)
        await asyncio.sleep(8)
        heard, times = film.sound(), [at for at, _ in film.frames]
        begin = np.flatnonzero(heard)[0] - 1
        assert np.array_equal(heard[begin : begin + len(said)], said)
        assert np.max(np.diff(times[10:])) < 0.06  # a frame with its sound leaves every 40 ms
        held, dropped = session.playout.held, session.playout.dropped
        print(f"\n{speed}: {len(times)} frames, held {held}, dropped {dropped}")
        slow = [event for event in film.events if event.type == "slow"]
        if speed == "fast":
            assert (held, dropped, slow) == (0, 0, [])
        elif speed == "half real time":
            assert 0.4 * len(times) < held < 0.6 * len(times)
            assert dropped < 0.05 * len(times)
            assert [event.slow for event in slow] == [True]
            assert (session.status().held_frames, session.status().dropped_frames) == (held, dropped)

    simulated(SPEEDS[speed], None, test)


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_sound_that_arrives_as_it_is_spoken_has_no_gap_however_slow_drawing_is(speed: str) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        utterance, voice = Utterance("a"), as_samples(tone(5))
        avatar.begin(utterance)
        for at in range(0, len(voice), RATE // 25):
            avatar.add(utterance, voice[at : at + RATE // 25])
            await asyncio.sleep(0.04)
        avatar.commit(utterance)
        await asyncio.sleep(3)
        heard = film.sound()
        begin = np.flatnonzero(heard)[0] - 1
        assert np.array_equal(heard[begin : begin + len(voice)], voice)
        assert len({id(shown.picture) for _, shown in film.frames[100:]}) > 20  # and the picture is not frozen

    simulated(SPEEDS[speed], None, test)


@pytest.mark.parametrize("slower", [0.3])
def test_a_sound_that_arrives_as_it_is_spoken_stays_whole_when_drawing_becomes_slow(slower: float) -> None:
    """Check that the picture is held no longer than the sound that has arrived lets the chunk behind it hear."""

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        loop, voice, utterance = asyncio.get_running_loop(), as_samples(tone(5)), Utterance("a")
        assert isinstance(loop, SimulatedLoop)
        avatar.begin(utterance)
        for at in range(0, len(voice), RATE // 25):
            loop.drawing = SPEEDS["fast"] if at < RATE else slower
            avatar.add(utterance, voice[at : at + RATE // 25])
            await asyncio.sleep(0.04)
        avatar.commit(utterance)
        await asyncio.sleep(3)
        heard = film.sound()
        begin = np.flatnonzero(heard)[0] - 1
        assert np.array_equal(heard[begin : begin + len(voice)], voice)
        assert session.playout.held > 0

    simulated(SPEEDS["fast"], None, test)


def test_it_is_told_when_drawing_becomes_too_slow_and_when_it_is_fast_enough_again() -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        for drawing, seconds in (("half real time", 3), ("fast", 8), ("half real time", 3)):
            loop.drawing = SPEEDS[drawing]
            await asyncio.sleep(seconds)
        told = [(event.slow, event.held) for event in film.events if event.type == "slow"]
        assert [slow for slow, _ in told] == [True, False, True]
        assert [held >= 0.1 if slow else held <= 0.02 for slow, held in told] == [True] * 3  # shares of five seconds

    simulated(SPEEDS["fast"], None, test)


def test_pictures_come_with_the_sound_that_drew_them_although_drawing_is_slow(tmp_path: Path) -> None:
    """Check in the take: the chunk after a hold hears what is played while it is shown, and a render draws the same."""

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        avatar.say(as_samples(tone(3)))
        await asyncio.sleep(3)
        avatar.say(as_samples(tone(2, 330)))
        await asyncio.sleep(4)
        # each frame that is not held stands where its chunk begins, behind all holds up to it
        holds = [(cue.landed, cue.hold) for cue in session.history.landed if cue.hold]
        shown = {id(f.picture): f for _, f in reversed(film.frames)}.values()
        apart = 0
        for frame in shown:
            held = sum(frames for latent, frames in holds if latent <= frame.chunk)
            apart += not 0 <= frame.frame - frames_before(frame.chunk) - held < 12
        assert len(shown) > 100
        assert apart <= 3  # until it is known how slow drawing is

    session = simulated(SPEEDS["half real time"], tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert sum(cue.hold or 0 for cue in take.cues) > 50
    live = session.history.hashes
    assert rendered(take, tmp_path) == live
    deaf = take.model_copy(update={"cues": [cue for cue in take.cues if cue.hold is None]})
    assert rendered(deaf, tmp_path) != live


def test_a_render_of_the_take_holds_the_picture_where_the_session_did(tmp_path: Path) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        avatar.say(as_samples(tone(2)))
        await asyncio.sleep(4)

    session = simulated(SPEEDS["half real time"], tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    job, _ = job_of_take(tiny_avatar(), take, tmp_path, tmp_path / "film.mp4")
    report = job.run(go_on=False)
    held = sum(cue.hold or 0 for cue in take.cues if cue.landed is not None)
    assert report.film_frames == report.frames + held
    assert held > 20


def test_an_interruption_silences_at_once_and_new_speech_is_whole_although_drawing_is_slow(tmp_path: Path) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        for round_ in range(4):
            avatar.say(as_samples(tone(6, 200)))
            await asyncio.sleep(2.5 + 0.17 * round_)
            at = len(film.frames)
            avatar.interrupt("asked to")
            answer = as_samples(tone(0.8, 900))
            utterance = Utterance(f"answer {round_}")
            utterance.add(answer)
            avatar.begin(utterance)
            avatar.commit(utterance)
            await asyncio.sleep(5)
            heard = film.sound()[FRAME * (at + 1) :]
            begin = np.flatnonzero(heard)[0] - 1
            assert np.array_equal(heard[begin : begin + len(answer)], answer), f"in round {round_}"
            assert not heard[begin + len(answer) :].any()
            assert (utterance.ended, utterance.heard) == ("complete", len(answer))

    session = simulated(SPEEDS["half real time"], tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert rendered(take, tmp_path) == session.history.hashes
