"""Test in simulated time how soon a voice is heard that arrives while the avatar is silent, and that it stays whole."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from simulated_films import Film, rendered, simulated
from speakers import as_samples, tone

from streaming.live.session import Session
from streaming.speech.avatar import Avatar
from streaming.speech.early_voice import redrawn
from streaming.speech.fullband import FRAME, RATE
from streaming.speech.utterance import Utterance
from streaming.take.take_file import load as load_take

FAST = 0.04  # seconds that a call of the device takes: a chunk of 0.48 s is drawn and settled in 0.08


async def streamed(avatar: Avatar, utterance: Utterance, voice: np.ndarray, speed: float) -> None:
    """Give an avatar a voice in pieces of 40 ms, `speed` times as fast as it is heard."""
    avatar.begin(utterance)
    for at in range(0, len(voice), FRAME):
        avatar.add(utterance, voice[at : at + FRAME])
        await asyncio.sleep(0.04 / speed)
    avatar.commit(utterance)


def whole_in(sound: np.ndarray, voice: np.ndarray) -> bool:
    """Return whether a sound has all samples of a voice one after another."""
    begins = np.flatnonzero(sound[: len(sound) - len(voice) + 1] == voice[0])
    return any(np.array_equal(sound[at : at + len(voice)], voice) for at in begins)


def first_sound(film: Film, since: float) -> float:
    """Return how many seconds after `since` a frame with sound was released."""
    return next(at for at, shown in film.frames if at >= since and shown.sound.any()) - since


@pytest.mark.parametrize(("speed", "usual", "most"), [(1000, 0.25, 0.42), (3, 0.5, 0.6), (1, 0.84, 0.86)])
def test_a_voice_is_heard_soon_after_its_first_piece_wherever_in_a_chunk_it_arrives(
    speed: float, usual: float, most: float, tmp_path: Path
) -> None:
    """At the speed of hearing, a voice waits for the sound of a chunk, its knot and the frames that wait: 20 frames."""
    delays: list[float] = []

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        for n in range(8):
            voice = as_samples(tone(1.2, 300 + 40 * n))
            sent, before = asyncio.get_running_loop().time(), len(film.frames)
            await streamed(avatar, Utterance(f"u{n}"), voice, speed)
            await asyncio.sleep(2.2 - 1.2 / speed + 0.057 * n)
            delays.append(first_sound(film, sent))
            assert whole_in(film.sound()[FRAME * before :], voice), f"utterance {n}"
        assert (session.playout.held, session.playout.dropped) == (0, 0)
        assert np.max(np.diff([at for at, _ in film.frames[10:]])) < 0.06

    session = simulated(FAST, tmp_path, test)
    print(f"\n{speed} times real time: p50 {1000 * np.median(delays):.0f} ms, most {1000 * max(delays):.0f} ms")
    assert np.median(delays) <= usual
    assert max(delays) <= most
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert rendered(take, tmp_path) == session.history.hashes


@pytest.mark.parametrize("seed", range(2))
def test_voices_that_come_and_are_interrupted_at_any_moment_are_whole_up_to_there_and_the_take_is_drawn_again(
    seed: int, tmp_path: Path
) -> None:
    chance = random.Random(seed)
    noise = np.random.default_rng(seed)
    voices: list[tuple[Utterance, np.ndarray]] = []

    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        for n in range(10):
            voice = noise.integers(-9000, 9000, RATE * chance.randrange(100, 1500) // 1000).astype(np.int16)
            voice[0] = 9000
            voices.append((Utterance(f"u{n}"), voice))
            sending = asyncio.create_task(streamed(avatar, voices[-1][0], voice, chance.choice([1.05, 2, 5, 1000])))
            await asyncio.sleep(chance.uniform(0, 1.2))
            if chance.random() < 0.4:
                avatar.interrupt("asked to")
            elif chance.random() < 0.2:
                avatar.cancel(voices[-1][0])
            else:
                await sending
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await asyncio.sleep(chance.choice([0, 0.1, 0.9]))
        await asyncio.sleep(4)
        sound = film.sound()
        for utterance, voice in voices:
            assert utterance.ended is not None
            assert utterance.ended != "complete" or utterance.heard == len(voice)
            assert not utterance.heard or whole_in(sound, voice[: utterance.heard]), utterance.name

    session = simulated(FAST, tmp_path, test)
    assert {utterance.ended for utterance, _ in voices} >= {"complete", "interrupted"}
    assert rendered(load_take(tmp_path / f"{session.history.id}.yaml"), tmp_path) == session.history.hashes


@pytest.mark.parametrize(
    ("lead", "left", "frame"), [(1.0, 12, 103), (1.5, 12, 104), (1.5, 6, 104), (1.5, 5, None), (6.0, 12, None)]
)
def test_a_chunk_is_drawn_anew_only_if_the_one_behind_it_is_drawn_in_time(
    lead: float, left: int, frame: int | None
) -> None:
    new = redrawn(next_frame=100, left=left, chunk=12, lead=lead, settling=0.5, ahead=3)
    assert (new and new.frame) == frame


def test_less_sound_must_have_arrived_the_later_the_next_chunk_is_begun() -> None:
    further = [
        new.further
        for left in (8, 12, 15)
        if (new := redrawn(next_frame=0, left=left, chunk=12, lead=1, settling=0, ahead=3)) is not None
    ]
    assert further == [7, 3, 0]
