"""A session keeps its promises: media time, look-ahead, rewind, and a take that replays to the same latents."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection
from sessions import async_test, replayed, running, say, until

from models.cue import Cue, Prompt
from streaming.live import chunk_producer
from streaming.live.pacing import LookAhead
from streaming.live.session_state import TRANSITIONS, SessionState, next_state
from streaming.rollout import Boundary, Chunk, Rollout
from streaming.take.take_file import Take, load
from streaming.transport import peers
from streaming.transport.commands import ControlError, parse


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
async def test_a_prompt_is_acknowledged_three_times_and_lands_on_a_chunk() -> None:
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
async def test_a_prompt_that_waits_takes_the_place_of_the_clean_pass(monkeypatch: pytest.MonkeyPatch) -> None:
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
async def test_what_was_played_live_is_rendered_to_the_same_latents() -> None:
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
async def test_a_rewound_take_branches_and_its_line_is_rendered_to_the_same_latents(tmp_path: Path) -> None:
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
async def test_back_to_the_start_begins_anew() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 9)
        say(session, 1, type="rewind", latent=0)
        await until(lambda: session.history.parent is not None)
        await until(lambda: session.index >= 6)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_one_can_go_back_to_what_the_next_chunk_pushes_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunk_producer, "SNAPSHOT_BUDGET_MB", 0.0)  # the newest boundary alone is kept
    async with running() as (session, _):
        await until(lambda: session.index >= 9)
        old, oldest = session.history.id, session.status().oldest
        say(session, 1, type="rewind", latent=oldest)
        await until(lambda: session.history.parent == f"{old}@{oldest}")
        await until(lambda: session.index >= 9)
    assert replayed(session.take()) == session.history.hashes


@async_test
async def test_a_continued_take_goes_on_from_its_end_and_shows_nothing_of_its_past_again() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 6)
        say(session, 1, type="prompt", text="two", blend=4)
        await until(lambda: session.index >= 12)
        say(session, 2, type="seed", seed=9)
        await until(lambda: session.index >= 18)
    past = session.history
    async with running(past=past) as (again, events):
        say(again, 1, type="prompt", text="three")
        await until(lambda: again.playout.released > 0)
        assert again.playout.playhead == past.length
        assert again.history.parent == f"{past.id}@{past.length}"
        await until(lambda: again.index >= past.length + 6)
        assert [(e.prompt or e.seed, e.landed) for e in again.history.landed][-1] == ("three", past.length)
        assert not [e for e in events if e.type == "warning"]
    assert {k: v for k, v in again.history.hashes.items() if k < past.length} == past.hashes
    assert replayed(again.take()) == again.history.hashes


@async_test
async def test_a_continued_take_says_where_its_replay_differs() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 12)
    session.history.hashes[6] = "another"
    async with running(past=session.history) as (again, events):
        await until(lambda: again.playout.released > 0)
        (warning,) = [e for e in events if e.type == "warning"]
        assert warning.why.startswith("from latent 6 on the replay differs")


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
async def test_undo_takes_back_a_cue_that_has_not_landed_and_leaves_the_take_alone() -> None:
    async with running() as (session, events):
        await until(lambda: session.index >= 6 and len(session.playout) > 12)  # enough is drawn: no chunk is begun
        say(session, 1, type="pause")
        line, at = session.history.id, session.index
        say(session, 2, type="prompt", text="two")
        await until(lambda: any(e.type == "encoded" for e in events))
        say(session, 3, type="undo")
        await until(lambda: any(e.type == "taken_back" and e.id == 2 for e in events))
        say(session, 4, type="resume")
        await until(lambda: session.index >= at + 6)
        assert [e.prompt for e in session.history.landed] == ["one"]
        assert session.history.id == line


@async_test
async def test_undo_takes_back_a_cue_that_is_being_drawn_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    step, begun, may_step = Rollout.step, threading.Event(), threading.Event()

    def held(rollout: Rollout, extra: Sequence[Cue] = (), may_go_on: Callable[[], None] = lambda: None) -> Chunk:
        if Prompt("three") in extra:
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
async def test_a_viewer_that_never_connects_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "CONNECTED_WITHIN", 0.3)
    async with running() as (session, _):
        peer, connection = peers.Peer(session, None), RTCPeerConnection()
        connection.addTransceiver("video", direction="recvonly")
        await connection.setLocalDescription(await connection.createOffer())
        await peer.answer(connection.localDescription.sdp)  # which never reaches it
        assert len(session.broadcast) == 1
        await until(peer.gone.is_set)
        assert len(session.broadcast) == 0
        await connection.close()


@async_test
async def test_a_viewer_that_joins_a_pause_sees_where_it_stands() -> None:
    async with running() as (session, _):
        await until(lambda: session.playout.released > 5)
        say(session, 1, type="pause")
        with pytest.raises(ControlError, match="paused cannot pause"):
            say(session, 2, type="pause")
        packet = await asyncio.wait_for(session.broadcast.join().get(), 2)
        assert packet is not None
        assert packet.is_keyframe
        at = session.playout.released
        say(session, 3, type="resume")
        await until(lambda: session.playout.released > at)
        with pytest.raises(ControlError, match="live cannot resume"):
            say(session, 4, type="resume")


@async_test
async def test_lossless_gives_every_prompt_its_chunk_and_smooth_the_newest() -> None:
    for look_ahead, landed in ((LookAhead.LOSSLESS, ["one", "a", "b", "c"]), (LookAhead.SMOOTH, ["one", "c"])):
        async with running(look_ahead=look_ahead) as (session, events):
            await until(lambda s=session: s.playout.released > 0 and len(s.playout) > 12)
            for number, text in enumerate("abc"):
                say(session, number, type="prompt", text=text)
            await until(lambda e=events: any(x.wire().get("id") == 2 and x.type == "live" for x in e))
            await until(lambda s=session, n=landed: len(s.history.landed) == len(n))
            assert [e.prompt for e in session.history.landed] == landed


@async_test
async def test_the_newest_frames_are_refused_nothing_is_held_of() -> None:
    async with running() as (session, _):
        await until(lambda: session.index >= 3)
        with pytest.raises(ControlError, match="not held"):
            say(session, 1, type="rewind", latent=10_000)


@async_test
async def test_the_journal_and_the_take_lie_in_the_folder(tmp_path: Path) -> None:
    from streaming.take import journal

    async with running(tmp_path) as (session, _):
        await until(lambda: session.index >= 6)
        lines = journal.read(tmp_path / f"{session.history.id}.jsonl")
        assert lines[0].type == "take"
        assert [x.first for x in lines if x.type == "chunk"][:2] == [0, 3]
    take = load(tmp_path / f"{session.history.id}.yaml")
    assert replayed(take) == session.history.hashes


@async_test
async def test_a_failing_model_ends_the_session_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_phases_go_only_their_ways() -> None:
    assert next_state(SessionState.LIVE, SessionState.PAUSED) is SessionState.PAUSED
    for now in SessionState:
        for then in set(SessionState) - TRANSITIONS[now]:
            with pytest.raises(ValueError, match=f"{now} cannot become {then}"):
                next_state(now, then)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 20_000,
        '{"type":"prompt","id":1,"text":""}',
        '{"type":"prompt","id":1,"text":"  "}',
        '{"type":"prompt","id":-1,"text":"x"}',
        '{"type":"prompt","id":1,"text":"x","blend":0}',
        '{"type":"prompt","id":1,"text":5}',
        '{"type":"prompt","id":1,"text":"x","extra":1}',
        '{"type":"rewind","id":1,"latent":"3"}',
        '{"type":"rewind","id":1,"latent":1e400}',
        '{"type":"set","id":1,"name":"chunk","value":"3"}',
        '{"type":"set","id":1,"name":"anchor","value":"floating"}',
        '{"type":"look_ahead","id":1,"value":"far"}',
        '{"type":"launch","id":1}',
        '{"type":"pause"}',
        b"\xff\xfe",
        '{"type":"prompt","id":1,"text":"' + "x" * 4001 + '"}',
        "x" * 20_000,
    ],
)
def test_a_message_that_is_none_is_refused_in_one_line(message: str | bytes) -> None:
    with pytest.raises(ControlError) as e:
        parse(message)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 300
