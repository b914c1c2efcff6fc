"""A session shows frames at the media rate, lands cues, and leaves a take that replays to the same latents."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from conftest import tiny_model
from sessions import async_test, model_with_first_chunk, replayed, running, say, until

from models.cue import Cue
from models.state import TakeState
from models.time_grid import frames_before, latent_of
from streaming.live.pacing import LookAhead
from streaming.live.session_state import SessionState
from streaming.rollout import Boundary, Chunk, Rollout
from streaming.take import journal
from streaming.take.take_file import Take, load
from streaming.transport.commands import ControlError


@async_test
async def test_frames_are_released_at_the_media_rate_and_drawing_stays_one_chunk_ahead() -> None:
    async with running() as (session, _):
        shown: list[tuple[float, int]] = []
        session.playout.watch(lambda frame, number: shown.append((time.monotonic(), len(session.playout))))
        await until(lambda: len(shown) >= 48)
        (first, _), (last, _) = shown[8], shown[40]
        assert 32 / (last - first) == pytest.approx(16, rel=0.1)
        ahead = [waiting for _, waiting in shown]
        assert max(ahead) <= 24
        assert min(ahead[16:]) > 0


@async_test
async def test_a_prompt_is_accepted_encoded_and_live_and_lands_on_a_chunk() -> None:
    async with running() as (session, events):
        await until(lambda: session.playout.released > 3)
        say(session, 7, type="prompt", text="two")
        await until(lambda: any(e.type == "live" for e in events))
        mine = [e.type for e in events if e.wire().get("id") == 7]
        assert mine[0] == "accepted"
        assert set(mine) == {"accepted", "encoded", "live"}
        live = next(e for e in events if e.type == "live")
        assert live.latent % 3 == 0
        await until(lambda: session.playout.released > live.frame)
        assert session.playout.playhead == live.latent
        assert [e.prompt for e in session.history.landed] == ["one", "two"]


@async_test
async def test_frames_are_shown_while_their_chunk_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    settle, may_settle = Rollout.settle, threading.Event()

    def slowly(rollout: Rollout, coming: Sequence[Cue] = ()) -> Boundary:
        assert may_settle.wait(20)
        return settle(rollout, coming)

    monkeypatch.setattr(Rollout, "settle", slowly)
    async with running() as (session, _):
        await until(lambda: session.playout.released == 9)
        assert session.index == 0  # the first chunk's frames are all shown, and it is at no boundary yet
        may_settle.set()
        await until(lambda: session.index >= 6)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_the_clean_pass_is_left_out_when_a_prompt_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    step, settle = Rollout.step, Rollout.settle
    begun, may_step, committed = threading.Event(), threading.Event(), {}

    def held(rollout: Rollout, extra: Sequence[Cue] = (), may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        if rollout.state.index == 12:
            begun.set()
            assert may_step.wait(20)
        return step(rollout, extra, may_go_on)

    def noted(rollout: Rollout, coming: Sequence[Cue] = ()) -> Boundary:
        boundary = settle(rollout, coming)
        committed[boundary.first] = "commit" in boundary.seconds
        return boundary

    monkeypatch.setattr(Rollout, "step", held)
    monkeypatch.setattr(Rollout, "settle", noted)
    async with running() as (session, _):
        await until(begun.is_set)
        say(session, 1, type="prompt", text="two")
        may_step.set()
        await until(lambda: session.index >= 24)
        assert [(e.prompt, e.landed) for e in session.history.landed] == [("one", 0), ("two", 15)]
        say(session, 2, type="rewind", latent=15)
        await until(lambda: session.history.parent is not None)
        await until(lambda: session.index >= 24)
        assert [e.prompt for e in session.history.landed] == ["one"]
    assert [first for first, ran in committed.items() if not ran] == [12]
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_live_take_with_cues_replays_to_the_same_latents() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two", blend=3)
        await until(lambda: session.index >= 15)
        say(session, 2, type="seed", seed=99)
        await until(lambda: session.index >= 21)
        say(session, 3, type="prompt", text="three", cut=True)
        say(session, 4, type="set", name="anchor", value="fixed")
        await until(lambda: session.index >= 27)
    take = session.take()
    assert replayed(Take.model_validate(take.model_dump())) == session.history.hashes


@async_test
async def test_a_viewer_that_joins_a_pause_gets_the_frame_on_screen() -> None:
    async with running() as (session, _):
        await until(lambda: session.playout.released > 5)
        say(session, 1, type="pause")
        with pytest.raises(ControlError, match="paused cannot pause"):
            say(session, 2, type="pause")
        for _ in range(6):  # more than get a keyframe at once while the film plays
            viewer = session.broadcast.join()
            packet = await asyncio.wait_for(viewer.get(), 2)
            assert packet is not None
            assert packet.is_keyframe
        viewer.request_keyframe()
        again = await asyncio.wait_for(viewer.get(), 2)
        assert again is not None
        assert again.is_keyframe
        at = session.playout.released
        say(session, 3, type="resume")
        await until(lambda: session.playout.released > at)
        with pytest.raises(ControlError, match="live cannot resume"):
            say(session, 4, type="resume")


@async_test
async def test_lossless_lands_every_prompt_and_smooth_only_the_newest() -> None:
    for look_ahead, landed in ((LookAhead.LOSSLESS, ["one", "a", "b", "c"]), (LookAhead.SMOOTH, ["one", "c"])):
        async with running(look_ahead=look_ahead) as (session, events):
            await until(lambda s=session: s.playout.released > 0 and len(s.playout) > 12)
            for number, text in enumerate("abc"):
                say(session, number, type="prompt", text=text)
            await until(lambda e=events: any(x.wire().get("id") == 2 and x.type == "live" for x in e))
            await until(lambda s=session, n=landed: len(s.history.landed) == len(n))
            assert [e.prompt for e in session.history.landed] == landed


@async_test
async def test_journal_and_take_file_are_written_into_the_folder(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, _):
        await until(lambda: session.index >= 6)
        lines = journal.read(tmp_path / f"{session.history.id}.jsonl")
        assert lines[0].type == "take"
        assert [x.first for x in lines if x.type == "chunk"][:2] == [0, 3]
    take = load(tmp_path / f"{session.history.id}.yaml")
    assert replayed(take) == session.history.hashes


@async_test
async def test_an_error_of_the_model_ends_the_session_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as (session, events):
        await until(lambda: session.index >= 3)

        def broken(*_: object) -> None:
            raise RuntimeError("secret path /x")

        monkeypatch.setattr(Rollout, "step", broken)
        await until(lambda: session.state is SessionState.FAILED)
        why = next(e.why for e in events if e.wire().get("phase") == SessionState.FAILED)
        assert why == "the take stopped: RuntimeError"
        with pytest.raises(ControlError, match="failed"):
            say(session, 1, type="pause")


@pytest.mark.parametrize("first_chunk", [1, 5])
@async_test
async def test_a_first_chunk_of_another_length_keeps_frames_and_latents_together(first_chunk: int) -> None:
    model = model_with_first_chunk(first_chunk)
    async with running(model=model) as (session, events):
        hello = session.hello(controls=True)
        assert (hello.first_chunk, hello.chunk) == (first_chunk, 3)
        shown: list[tuple[int, int, int]] = []
        session.playout.watch(lambda frame, number: shown.append((number, frame.frame, frame.chunk)))
        await until(lambda: session.index >= first_chunk + 6)
        say(session, 1, type="prompt", text="two")
        await until(lambda: any(e.type == "shown" for e in events))
        live = next(e for e in events if e.type == "live")
        await until(lambda: len(shown) > live.frame)
    grid = model.entry.rollout.grid
    assert [frame for _, frame, _ in shown] == list(range(len(shown)))
    assert [chunk for *_, chunk in shown] == [grid.start(grid.number(latent_of(f))) for _, f, _ in shown]
    assert live.latent == grid.border(live.latent)
    assert shown[live.frame] == (live.frame, frames_before(live.latent), live.latent)
    assert replayed(session.take(), model_with_first_chunk(first_chunk)) == session.history.hashes


@async_test
async def test_a_chunk_whose_frames_were_released_belongs_to_the_take_however_soon_the_session_ends() -> None:
    model, may_commit = tiny_model(), threading.Event()
    commit = model.generator.commit

    def held(state: TakeState) -> None:
        may_commit.wait(30)
        commit(state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.generator, "commit", held)
        async with running(model=model) as (session, _):
            await until(lambda: session.playout.released > 0)
            assert session.history.length == 0
            asyncio.get_running_loop().call_later(0.2, may_commit.set)  # while the session is being closed
        assert session.history.length == 3
        assert list(session.history.hashes) == [0]
