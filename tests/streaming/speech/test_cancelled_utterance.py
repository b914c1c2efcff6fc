"""Test in simulated time that one utterance is cancelled before it is heard, and those around it stay whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from simulated_films import Film, rendered, simulated
from speakers import as_samples, tone

from streaming.live.session import Session
from streaming.speech.avatar import Avatar
from streaming.speech.fullband import RATE
from streaming.speech.utterance import Utterance
from streaming.take.take_file import load as load_take

DRAWING = 0.15  # seconds that a chunk takes to draw, and again to settle
PIECES = [as_samples(tone(seconds, hertz)) for seconds, hertz in ((0.7, 200), (0.1, 900), (0.3, 500))]


def spoken(avatar: Avatar) -> list[Utterance]:
    """Have three utterances spoken, of which the second is short: all are handed over while the first one sounds."""
    utterances = [Utterance(name) for name in "abc"]
    for utterance, voice in zip(utterances, PIECES, strict=True):
        utterance.add(voice)
        avatar.begin(utterance)
        avatar.commit(utterance)
    return utterances


async def until_heard(film: Film, seconds: float) -> None:
    """Wait until so many seconds of sound were heard."""
    while not film.frames[-1][1].sound.any():
        await asyncio.sleep(0.01)
    await asyncio.sleep(seconds)


def ended(film: Film) -> list[tuple[str, str, int]]:
    return [(e.utterance, e.why, e.sample) for e in film.events if e.type == "utterance.ended"]


@pytest.mark.parametrize("heard", [0.3, 0.6])
def test_an_utterance_that_was_handed_over_and_is_not_heard_yet_leaves_the_ones_around_it_whole(
    tmp_path: Path, heard: float
) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        _, b, _ = spoken(avatar)
        await until_heard(film, heard)
        assert (b.given, b.played) == (len(PIECES[1]), 0)
        avatar.cancel(b)
        await asyncio.sleep(3)
        assert ended(film) == [("b", "cancelled", 0), ("a", "complete", 0.7 * RATE), ("c", "complete", 0.3 * RATE)]
        assert not [event for event in film.events if event.type == "interrupted"]
        sound = film.sound()
        begin = np.flatnonzero(sound)[0] - 1
        end = begin + len(PIECES[0])
        assert np.array_equal(sound[begin:end], PIECES[0])
        follows = end + np.flatnonzero(sound[end:])[0] - 1
        assert follows - end < 0.5 * RATE  # what chunks have heard of the cancelled one is silent
        assert np.array_equal(sound[follows : follows + len(PIECES[2])], PIECES[2])
        assert not sound[follows + len(PIECES[2]) :].any()

    session = simulated(DRAWING, tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert rendered(take, tmp_path) == session.history.hashes


def test_an_utterance_that_is_heard_is_silenced_and_the_one_behind_it_is_whole(tmp_path: Path) -> None:
    async def test(session: Session, avatar: Avatar, film: Film) -> None:
        a, b, _ = spoken(avatar)
        await until_heard(film, 0.6)
        at = len(film.frames) + 1  # half of a frame may leave
        assert (b.given, b.played) == (len(PIECES[1]), 0)
        avatar.cancel(a)
        assert ended(film)[0][:2] == ("a", "cancelled")
        await asyncio.sleep(3)
        assert [e[:2] for e in ended(film)] == [("a", "cancelled"), ("b", "complete"), ("c", "complete")]
        sound = np.concatenate([shown.sound for _, shown in film.frames[at:]])
        begin = np.flatnonzero(sound)[0] - 1
        rest = np.concatenate(PIECES[1:])
        assert np.array_equal(sound[begin : begin + len(rest)], rest)
        assert not sound[begin + len(rest) :].any()

    session = simulated(DRAWING, tmp_path, test)
    take = load_take(tmp_path / f"{session.history.id}.yaml")
    assert rendered(take, tmp_path) == session.history.hashes
