"""A session that another process had goes on under its name, from a checkpoint, at the frame that viewers were at."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from sessions import TAKE, async_test, replayed, say, until

from models.checkpoints.assemble import Model
from models.snapshots import Snapshot
from models.time_grid import frames_before
from streaming.live import checkpoints
from streaming.live.admission import BusyDeviceError, Moved, SessionRegistry
from streaming.live.checkpoints import newest_checkpoint
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.live.session import Session
from streaming.take.archive import Archive
from streaming.take.history import TakeHistory


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have checkpoints written as often as chunks are drawn."""
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


def registry(folder: Path) -> SessionRegistry:
    async def load(_: str) -> Model:
        return tiny_model()

    takes = Archive(folder / "takes").folder
    return SessionRegistry(load, DeviceThread(), takes, checkpoints=folder / "sessions", in_line=False)


def left_of(folder: Path, session: Session, shown: int | None = None) -> tuple[TakeHistory, Snapshot | None]:
    """Read what is on the disk of a session: its past and its newest checkpoint."""
    past = Archive(folder / "takes").told(session.history.id).history
    where = folder / "sessions" / session.id
    return past, newest_checkpoint(where, past, torch.device("cpu"), torch.float32, shown)


@async_test
async def test_a_session_goes_on_elsewhere_from_a_checkpoint_and_shows_each_frame_once(tmp_path: Path) -> None:
    first, second = registry(tmp_path), registry(tmp_path)
    hosted = await first.create(TAKE, LookAhead.SMOOTH)
    session = hosted.session
    await until(lambda: session.index >= 12)
    say(session, 1, type="prompt", text="two", blend=4)
    await until(lambda: session.index >= 27)
    await first.end(session.id)  # its files are those that a kill leaves, but for the last line of the journal
    shown = frames_before(session.index) - 20
    past, checkpoint = left_of(tmp_path, session, shown)
    assert checkpoint is not None
    assert 12 < checkpoint.index < past.length
    moved = Moved(session.id, hosted.key, checkpoint, shown)
    again = await second.create(past.take, LookAhead.SMOOTH, past=past, moved=moved)
    assert (again.session.id, again.key) == (session.id, hosted.key)
    assert again.session.index == checkpoint.index
    seen: list[int] = []
    again.session.playout.watch(lambda frame, _: seen.append(frame.frame))
    assert again.session.producer.next_frame == shown
    await until(lambda: again.session.index >= past.length + 6 and len(seen) > 12)
    assert seen == list(range(shown, shown + len(seen)))
    await second.end(session.id)
    take = again.session.take()
    assert replayed(take) == again.session.history.hashes
    assert Archive(tmp_path / "takes").told(again.session.history.id).history.hashes == again.session.history.hashes
    for one in (first, second):
        one.device.close()


@async_test
async def test_a_session_that_had_viewers_shows_nothing_before_one_is_back_and_plays_without_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = registry(tmp_path)
    hosted = await sessions.create(TAKE, LookAhead.SMOOTH)
    await until(lambda: hosted.session.index >= 12)
    await sessions.end(hosted.session.id)
    past, checkpoint = left_of(tmp_path, hosted.session)
    moved = Moved(hosted.session.id, hosted.key, checkpoint, awaited=True)
    again = (await sessions.create(past.take, LookAhead.SMOOTH, past=past, moved=moved)).session
    await until(lambda: len(again.playout) > 0)
    await asyncio.sleep(0.5)
    assert again.playout.released == 0
    viewer = again.broadcast.join()
    await asyncio.sleep(0.2)
    assert again.playout.released == 0, "its connection carries no pictures yet"
    async with asyncio.timeout(3):
        await viewer.get()
    await sessions.end(again.id)
    monkeypatch.setattr("streaming.live.session.AWAITED_FOR", 0.3)
    alone = (await sessions.create(past.take, LookAhead.SMOOTH, past=past, moved=moved)).session
    await until(lambda: alone.playout.released > 0)
    await sessions.end(alone.id)
    sessions.device.close()


@async_test
async def test_frames_that_were_seen_of_a_chunk_that_is_lost_are_not_shown_again(tmp_path: Path) -> None:
    sessions = registry(tmp_path)
    hosted = await sessions.create(TAKE, LookAhead.INSTANT)
    await until(lambda: hosted.session.index >= 9)
    await sessions.end(hosted.session.id)
    past, checkpoint = left_of(tmp_path, hosted.session)
    end = frames_before(past.length)
    moved = Moved(hosted.session.id, hosted.key, checkpoint, end + 2)
    again = await sessions.create(past.take, LookAhead.INSTANT, past=past, moved=moved)
    seen: list[int] = []
    again.session.playout.watch(lambda frame, _: seen.append(frame.frame))
    await until(lambda: len(seen) > 12)
    assert seen == list(range(end + 2, end + 2 + len(seen)))
    await sessions.end(hosted.session.id)
    sessions.device.close()


@async_test
async def test_prompts_that_had_not_landed_land_where_the_session_goes_on(tmp_path: Path) -> None:
    sessions = registry(tmp_path)
    hosted = await sessions.create(TAKE, LookAhead.SMOOTH)
    await until(lambda: hosted.session.index >= 9)
    say(hosted.session, 3, type="prompt", text="three", at=90)
    say(hosted.session, 2, type="prompt", text="two")
    waiting = hosted.session.producer.asked
    assert {cue.number for cue in waiting} == {2, 3}
    await sessions.end(hosted.session.id)
    past, checkpoint = left_of(tmp_path, hosted.session)
    moved = Moved(hosted.session.id, hosted.key, checkpoint)
    again = (await sessions.create(past.take, LookAhead.SMOOTH, past=past, moved=moved)).session
    again.land_again(hosted.session.producer.asked)
    await until(lambda: any(cue.prompt == "two" for cue in again.history.landed))
    assert [(cue.id, cue.prompt, cue.at) for cue in again.timeline().to_come] == [(3, "three", 90)]
    assert [cue.number for cue in again.producer.asked] == [3]
    await sessions.end(again.id)
    assert replayed(again.take()) == again.history.hashes
    sessions.device.close()


@async_test
async def test_a_checkpoint_that_is_damaged_or_of_a_branch_that_was_left_is_not_gone_on_from(tmp_path: Path) -> None:
    sessions = registry(tmp_path)
    hosted = await sessions.create(TAKE, LookAhead.SMOOTH)
    await until(lambda: hosted.session.index >= 18)
    await sessions.end(hosted.session.id)
    folder = tmp_path / "sessions" / hosted.session.id
    *others, older, newest = sorted(folder.iterdir(), key=lambda path: int(path.name.partition("-")[0]))
    assert len(others) == 2
    _, checkpoint = left_of(tmp_path, hosted.session)
    assert checkpoint is not None
    assert checkpoint.index == int(newest.name.partition("-")[0])
    newest.write_bytes(newest.read_bytes()[:-9])
    _, checkpoint = left_of(tmp_path, hosted.session)
    assert checkpoint is not None
    assert checkpoint.index == int(older.name.partition("-")[0])
    for path in (*others, older):
        path.rename(path.with_name(f"{path.name.partition('-')[0]}-{'0' * 16}.safetensors"))
    assert left_of(tmp_path, hosted.session)[1] is None
    sessions.device.close()


@async_test
async def test_a_session_for_which_there_is_no_room_is_refused_where_no_line_is_kept(tmp_path: Path) -> None:
    sessions = registry(tmp_path)
    first = await sessions.create(TAKE, LookAhead.SMOOTH)
    second = await sessions.create(TAKE, LookAhead.SMOOTH)  # each is expected to take 40 %, as nothing was measured
    with pytest.raises(BusyDeviceError, match="the device is busy"):
        await sessions.create(TAKE, LookAhead.SMOOTH)
    assert sessions.load().waiting == 0
    for hosted in (first, second):
        await sessions.end(hosted.session.id)
    sessions.device.close()
