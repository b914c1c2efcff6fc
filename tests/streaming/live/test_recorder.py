"""A recording begins and ends on command, and the film goes on whatever becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sessions import async_test, running, say, until

from streaming.live.session_state import SessionState
from streaming.media.live_recording import LiveRecording
from streaming.transport.commands import ControlError


@async_test
async def test_one_recording_runs_at_a_time_and_each_has_a_file(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, events):
        await until(lambda: session.playout.released > 0)
        with pytest.raises(ControlError, match="nothing is being recorded"):
            say(session, 1, type="stop_recording")
        for number in (1, 2):
            say(session, 2, type="record")
            with pytest.raises(ControlError, match="recorded already"):
                say(session, 3, type="record")
            await until(lambda: (session.status().recorded_s or 0) > 0.1)
            say(session, 4, type="stop_recording")
            await until(lambda: session.status().recorded_s is None)
            assert (tmp_path / f"{session.history.id}-{number}.mp4").stat().st_size > 0
        told = [(e.on, e.wire().get("why")) for e in events if e.type == "recording"]
        assert told == [(True, None), (False, ""), (True, None), (False, "")]


@async_test
async def test_a_recording_that_fails_is_told_and_ends_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(recording: LiveRecording) -> None:
        raise ValueError("the stream's parameters have changed")

    monkeypatch.setattr(LiveRecording, "run", broken)
    async with running(tmp_path) as (session, events):
        await until(lambda: session.playout.released > 0)
        say(session, 1, type="record")
        await until(lambda: any(e.type == "recording" and not e.on for e in events))
        assert next(e for e in events if e.type == "recording" and not e.on).why.endswith("what is written plays")
        released = session.playout.released
        await until(lambda: session.playout.released > released)
        assert session.state is SessionState.LIVE
        assert session.status().recorded_s is None


@async_test
async def test_without_a_folder_nothing_is_recorded() -> None:
    async with running() as (session, _):
        await until(lambda: session.playout.released > 0)
        with pytest.raises(ControlError, match="takes are not kept on disk"):
            say(session, 1, type="record")
