"""A prompt that was asked for at a latent waits, can be moved, changed and taken back, and lands there."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import async_test, replayed, running, say, until

from streaming.live.session import Session
from streaming.transport.commands import ControlError


def listed(session: Session) -> list[tuple[int, str, int]]:
    return [(cue.id, cue.prompt, cue.at) for cue in session.timeline().to_come]


@async_test
async def test_a_prompt_to_come_is_moved_changed_and_lands_on_the_border_after_its_latent(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, events):
        await until(lambda: session.index >= 3)
        say(session, 1, type="pause")
        at = session.index + 3  # a chunk may be drawn still
        say(session, 2, type="prompt", text="two", at=at + 30)
        say(session, 3, type="prompt", text="three", at=at + 1, blend=2)
        say(session, 4, type="prompt", text="four", at=at + 60)
        assert listed(session) == [(3, "three", at + 1), (2, "two", at + 30), (4, "four", at + 60)]
        say(session, 5, type="prompt", text="five", at=at + 4, cut=True, replaces=2)
        say(session, 6, type="take_back", cue=4)
        await until(lambda: {e.id for e in events if e.type == "taken_back"} == {2, 4})
        newest = next(e for e in reversed(events) if e.type == "timeline")
        assert [(c.id, c.at, c.blend, c.cut) for c in newest.to_come] == [(3, at + 1, 2, False), (5, at + 4, 1, True)]
        with pytest.raises(ControlError, match="nothing to undo"):  # what is to come is taken back by its number
            say(session, 7, type="undo")
        say(session, 8, type="resume")
        await until(lambda: session.index >= at + 9 and not listed(session))
        landed = [(e.prompt, e.landed, e.blend, e.cut) for e in session.history.landed]
        assert landed == [("one", 0, 1, False), ("three", at + 3, 2, False), ("five", at + 6, 1, True)]
        assert {e.id: e.latent for e in events if e.type == "live"} == {3: at + 3, 5: at + 6}
        assert session.status().prompt_ms is None  # waiting for a latent is no delay
    journal = (tmp_path / f"{session.history.id}.jsonl").read_text()
    assert [word for word in ("one", "two", "three", "four", "five") if word in journal] == ["one", "three", "five"]
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_cue_that_has_landed_is_neither_replaced_nor_taken_back() -> None:
    async with running() as (session, events):
        await until(lambda: session.index >= 3)
        say(session, 1, type="prompt", text="two", at=0)  # a latent that is past: the next chunk
        await until(lambda: any(e.type == "live" and e.id == 1 for e in events))
        with pytest.raises(ControlError, match="command 1 waits; it has landed"):
            say(session, 2, type="prompt", text="three", replaces=1)
        with pytest.raises(ControlError, match="command 1 waits"):
            say(session, 3, type="take_back", cue=1)
        await until(lambda: session.index >= 9)
        assert [e.prompt for e in session.history.landed] == ["one", "two"]


@async_test
async def test_what_waits_is_told_apart_by_its_number_and_one_prompt_waits_for_a_chunk() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        say(session, 1, type="pause")
        at = session.index + 30
        say(session, 2, type="prompt", text="two", at=at)
        say(session, 3, type="prompt", text="three", at=at + 3)
        say(session, 4, type="seed", seed=1)
        waits = listed(session)
        for refused, why in (
            ({"number": 2, "at": at + 6}, "command 2 waits already"),
            ({"number": 2, "at": at + 6, "replaces": 3}, "command 2 waits already"),
            ({"number": 5, "at": at + 6, "replaces": 4}, "command 4 asked for no prompt"),
            ({"number": 5, "at": at + 3, "replaces": 2}, "command 3 waits for the chunk at latent"),
            ({"number": 5, "at": at - 1}, "command 2 waits for the chunk at latent"),
        ):
            with pytest.raises(ControlError, match=why):
                say(session, type="prompt", text="refused", **refused)
            assert listed(session) == waits
        say(session, 5, type="prompt", text="five", at=at - 1, replaces=2)
        assert listed(session) == [(5, "five", at - 1), (3, "three", at + 3)]
        say(session, 6, type="undo")  # the seed, which waits still
        say(session, 7, type="take_back", cue=5)
        assert listed(session) == [(3, "three", at + 3)]


@async_test
async def test_the_newest_command_wins_a_chunk_and_those_that_give_way_are_told_to_be_taken_back() -> None:
    async with running() as (session, events):
        await until(lambda: session.index >= 3)
        say(session, 1, type="pause")
        say(session, 2, type="prompt", text="planned", at=session.index)
        say(session, 3, type="seed", seed=1)
        say(session, 4, type="prompt", text="now")
        say(session, 5, type="seed", seed=2)
        say(session, 6, type="resume")
        await until(lambda: {e.id for e in events if e.type == "shown"} == {4, 5})
        assert [e.id for e in events if e.type == "live"] == [4, 5]
        assert [e.id for e in events if e.type == "taken_back"] == [2, 3]
