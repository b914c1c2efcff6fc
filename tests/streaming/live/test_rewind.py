"""A take goes back to a boundary: by a rewind to a latent, or by an undo of its newest cue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sessions import async_test, replayed, running, say, until

from models import snapshots
from models.cue import Cue
from streaming.live import chunk_producer
from streaming.live.device import DeviceThread
from streaming.rollout import Chunk, Rollout
from streaming.take.take_file import CueLine, load
from streaming.transport.commands import ControlError


@async_test
async def test_a_rewound_take_branches_and_the_branch_replays_to_the_same_latents(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two")
        await until(lambda: session.index >= 18)
        old, released = session.history.id, session.playout.released
        say(session, 2, type="rewind", latent=10)
        await until(lambda: session.history.id != old)
        assert session.history.parent == f"{old}@9"
        assert session.playout.released >= released
        say(session, 3, type="prompt", text="three")
        await until(lambda: session.index >= 21)
        left = load(tmp_path / f"{old}.yaml")
    assert replayed(session.take()) == session.history.hashes
    assert left.length >= 18
    assert {k: v for k, v in replayed(left).items() if k < 9} == {
        k: v for k, v in session.history.hashes.items() if k < 9
    }


@async_test
async def test_a_rewind_to_the_start_begins_the_take_anew() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 9)
        say(session, 1, type="rewind", latent=0)
        await until(lambda: session.history.parent is not None)
        await until(lambda: session.index >= 6)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_rewind_reaches_a_boundary_that_the_budget_then_drops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chunk_producer, "SNAPSHOT_BUDGET_MB", 0.0)  # the newest boundary alone is kept
    async with running() as (session, _):
        await until(lambda: session.index >= 9)
        old, oldest = session.history.id, session.status().oldest
        say(session, 1, type="rewind", latent=oldest)
        await until(lambda: session.history.parent == f"{old}@{oldest}")
        await until(lambda: session.index >= 9)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_take_that_goes_back_without_keys_is_recached_and_its_record_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(snapshots, "DEAR_BYTES", 0)  # as of a large model
    async with running(tmp_path) as (session, _):
        await until(lambda: session.index >= 15)
        say(session, 1, type="prompt", text="two")
        await until(lambda: len(session.history.landed) == 2)
        say(session, 2, type="undo")
        await until(lambda: session.history.parent is not None)
        at = int((session.history.parent or "").partition("@")[2])
        await until(lambda: session.index >= at + 6)
        assert [(e.recache, e.landed) for e in session.history.landed] == [(False, 0), (True, at)]
        with pytest.raises(ControlError, match="nothing to undo"):  # the recache is no cue that anybody asked for
            say(session, 3, type="undo")
        say(session, 4, type="prompt", text="three")
        await until(lambda: len(session.history.landed) == 3)
        branch = session.history.id
        say(session, 5, type="rewind", latent=at)
        await until(lambda: session.history.id != branch)
        await until(lambda: session.index >= at + 6)
        assert [(e.prompt, e.recache) for e in session.history.landed] == [("one", False), (None, True)]
        left = load(tmp_path / f"{branch}.yaml")
    assert replayed(session.take()) == session.history.hashes
    assert [e.recache for e in left.cues] == [False, True, False]


@async_test
async def test_a_rewind_past_the_newest_latent_is_refused() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        with pytest.raises(ControlError, match="not held"):
            say(session, 1, type="rewind", latent=10_000)


@async_test
async def test_undo_takes_back_the_newest_cue() -> None:
    async with running() as (session, events):
        with pytest.raises(ControlError, match="nothing to undo"):
            say(session, 1, type="undo")
        await until(lambda: session.index >= 3)
        say(session, 2, type="prompt", text="two")
        await until(lambda: any(e.type == "live" for e in events))
        say(session, 3, type="undo")
        await until(lambda: session.history.parent is not None)
        await until(lambda: session.index >= 12)
        assert [e.prompt for e in session.history.landed] == ["one"]
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_undo_takes_back_a_cue_that_waits_and_leaves_the_take_as_it_is() -> None:
    async with running() as (session, events):
        await until(lambda: session.index >= 6 and len(session.playout) > 12)  # enough is drawn: no chunk is begun
        say(session, 1, type="pause")
        take, at = session.history.id, session.index
        say(session, 2, type="prompt", text="two")
        await until(lambda: any(e.type == "encoded" for e in events))
        say(session, 3, type="undo")
        await until(lambda: any(e.type == "taken_back" and e.id == 2 for e in events))
        say(session, 4, type="resume")
        await until(lambda: session.index >= at + 6)
        assert [e.prompt for e in session.history.landed] == ["one"]
        assert session.history.id == take


@async_test
async def test_undo_takes_back_the_cue_of_the_chunk_being_drawn_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, begun, may_step = Rollout.step, threading.Event(), threading.Event()

    def held(
        rollout: Rollout, extra: Sequence[Cue | CueLine] = (), may_go_on: Callable[[], None] = lambda: None
    ) -> Chunk:
        if CueLine(prompt="three") in extra:
            begun.set()
            assert may_step.wait(20)
        return step(rollout, extra, may_go_on)

    monkeypatch.setattr(Rollout, "step", held)
    async with running() as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two")
        await until(lambda: len(session.history.landed) == 2)
        say(session, 2, type="prompt", text="three")
        await until(begun.is_set)
        take, at = session.history.id, session.index
        say(session, 3, type="undo")
        may_step.set()
        await until(lambda: session.history.id != take)
        assert session.history.parent == f"{take}@{at}"
        await until(lambda: session.index >= at + 6)
        assert [e.prompt for e in session.history.landed] == ["one", "two"]


@async_test
async def test_two_undos_in_a_row_take_back_two_cues() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 6)
        for number, text in ((1, "two"), (2, "three")):
            say(session, number, type="prompt", text=text)
            await until(lambda n=number: len(session.history.landed) == n + 1)
        take = session.history.id
        say(session, 3, type="undo")
        say(session, 4, type="undo")  # before the first one was carried out
        with pytest.raises(ControlError, match="nothing to undo"):
            say(session, 5, type="undo")
        await until(lambda: session.history.id != take)
        await until(lambda: session.index >= 12)
        assert [e.prompt for e in session.history.landed] == ["one"]
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_rewind_during_another_one_counts_from_the_new_branch() -> None:
    device, may_go_back = DeviceThread(), threading.Event()
    async with running(device=device) as (session, _):
        await until(lambda: session.index >= 15)
        say(session, 1, type="pause")
        await until(lambda: len(session.history.hashes) * 3 == session.index)
        first, blocked = session.history.id, asyncio.create_task(device.run(lambda: may_go_back.wait(20)))
        say(session, 2, type="rewind", latent=9)
        await until(lambda: session.history.parent == f"{first}@9")
        second = session.history.id
        with pytest.raises(ControlError, match="latent 12 is not held"):
            say(session, 3, type="rewind", latent=12)
        say(session, 4, type="rewind", latent=6)
        may_go_back.set()
        assert await blocked  # nothing above waited until the device was let go by its time limit
        await until(lambda: session.history.parent == f"{second}@6")
        say(session, 5, type="resume")
        await until(lambda: session.index >= 12)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_no_chunk_is_drawn_between_a_rewind_and_another_that_comes_while_it_is_carried_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_back, step, may_go_back = Rollout.go_back, Rollout.step, threading.Event()
    drawn: list[int] = []

    def held(rollout: Rollout, latent: int) -> int:
        assert may_go_back.wait(20)
        return go_back(rollout, latent)

    def noted(
        rollout: Rollout, extra: Sequence[Cue | CueLine] = (), may_go_on: Callable[[], None] = lambda: None
    ) -> Chunk:
        drawn.append(rollout.state.index)
        return step(rollout, extra, may_go_on)

    monkeypatch.setattr(Rollout, "go_back", held)
    monkeypatch.setattr(Rollout, "step", noted)
    async with running() as (session, _):
        await until(lambda: session.index >= 12)
        first = session.history.id
        say(session, 1, type="rewind", latent=9)
        await until(lambda: session.history.parent == f"{first}@9")
        second, before = session.history.id, len(drawn)
        say(session, 2, type="rewind", latent=6)
        may_go_back.set()
        await until(lambda: session.history.parent == f"{second}@6" and session.index >= 12)
    assert drawn[before:][:2] == [6, 9]
