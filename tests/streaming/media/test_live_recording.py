"""Test that a live recording plays however it ends, and that the stream never waits for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from sessions import async_test, running, say, until

from streaming.media.h264 import LiveEncoder
from streaming.media.live_recording import LiveRecording, RecordingError, intact_bytes, whole_bytes

FPS = 16


def packets(count: int, keys: tuple[int, ...] = ()) -> list[av.Packet]:
    encoder, made = LiveEncoder(256, 256, FPS, 600_000), []
    for i in range(count):
        picture = np.full((256, 256, 3), 3 * i % 256, np.uint8)
        made += encoder.encode(picture, i * 90_000 // FPS, keyframe=i in keys)
    return made


def played(path: Path) -> list[tuple[float, int]]:
    """Return (time in seconds, mean brightness) of every frame."""
    with av.open(str(path)) as container:
        return [(f.time, round(f.to_ndarray(format="rgb24").mean())) for f in container.decode(video=0)]


async def recorded(path: Path, made: list[av.Packet]) -> LiveRecording:
    recording = LiveRecording(path, 256, 256, FPS)
    for packet in made:
        recording.offer(packet)
    recording.end()
    await recording.run()
    return recording


@async_test
async def test_a_recording_has_every_packet_from_a_keyframe_on_and_begins_at_zero(tmp_path: Path) -> None:
    made = packets(40, keys=(10,))
    await recorded(tmp_path / "a.mp4", made[5:])
    got = played(tmp_path / "a.mp4")
    assert [t for t, _ in got] == pytest.approx([i / FPS for i in range(30)], abs=1e-4)
    assert [b for _, b in got] == pytest.approx([3 * i for i in range(10, 40)], abs=3)


@async_test
async def test_a_recording_plays_while_it_is_written_and_when_it_is_torn(tmp_path: Path) -> None:
    path, made = tmp_path / "a.mp4", packets(40)
    recording = LiveRecording(path, 256, 256, FPS)
    task = asyncio.create_task(recording.run())
    for packet in made[:20]:
        recording.offer(packet)
    await until(lambda: path.exists() and whole_bytes(path) > 0 and len(played(path)) == 20)  # fragments of four frames
    recording.end()
    await task
    whole = path.read_bytes()
    for lost in (1, 9, 300):
        path.write_bytes(whole[:-lost])
        kept = whole_bytes(path)
        assert kept < len(whole) - lost
        path.write_bytes(whole[:kept])
        assert len(played(path)) == 16


@async_test
async def test_a_full_disk_is_reported_in_one_line() -> None:
    recording = LiveRecording(Path("/dev/full"), 256, 256, FPS)
    for packet in packets(20):
        recording.offer(packet)
    with pytest.raises(RecordingError, match="No space left on device; what is written plays, free some space"):
        await recording.run()


@async_test
async def test_a_fragment_that_is_only_partly_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Record onto a disk that has room for part of a write, and refuses the next one."""
    room, write = 4000, os.write

    def little_room(file: int, data: bytes) -> int:
        if not (left := room - os.fstat(file).st_size):
            raise OSError(28, "No space left on device")
        return write(file, data[:left])

    monkeypatch.setattr(os, "write", little_room)
    recording = LiveRecording(tmp_path / "a.mp4", 256, 256, FPS)
    for packet in packets(40):
        recording.offer(packet)
    with pytest.raises(RecordingError, match="No space left on device"):
        await recording.run()
    monkeypatch.undo()
    assert 0 < (tmp_path / "a.mp4").stat().st_size < room
    assert intact_bytes(tmp_path / "a.mp4") == (tmp_path / "a.mp4").stat().st_size
    assert len(played(tmp_path / "a.mp4")) % 4 == 0


@async_test
async def test_a_disk_that_cannot_keep_up_ends_the_recording(tmp_path: Path) -> None:
    recording = LiveRecording(tmp_path / "a.mp4", 256, 256, FPS)
    for packet in packets(11 * FPS):
        recording.offer(packet)
    with pytest.raises(RecordingError, match="too slow"):
        await recording.run()


@async_test
async def test_a_session_is_recorded_beside_its_take_file(tmp_path: Path) -> None:
    async with running(tmp_path) as (session, events):
        await until(lambda: session.playout.released > 5)
        say(session, 1, type="record")
        await until(lambda: (session.status().recorded_s or 0) > 1)
        say(session, 2, type="stop_recording")
        await until(lambda: any(e.type == "recording" and not e.on for e in events))
        assert session.status().recorded_s is None
        say(session, 3, type="record")
        await until(lambda: (session.status().recorded_s or 0) > 0.5)
        name = session.history.id
    assert len(played(tmp_path / f"{name}-1.mp4")) >= FPS
    assert len(played(tmp_path / f"{name}-2.mp4")) >= FPS // 2  # ended with the session, its last fragment included
    assert (tmp_path / f"{name}.yaml").exists()


@async_test
async def test_a_full_disk_stops_neither_the_stream_nor_the_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.take.history.TakeFiles.recording", lambda *_: Path("/dev/full"))
    async with running(tmp_path) as (session, events):
        await until(lambda: session.playout.released > 3)
        say(session, 1, type="record")
        await until(lambda: any(e.wire().get("why", "").startswith("the recording stopped: No space") for e in events))
        released = session.playout.released
        await until(lambda: session.playout.released > released + 8)

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("streaming.take.journal.Journal.write", full)
        await until(lambda: any(e.type == "warning" and "No space" in e.why for e in events))
        released = session.playout.released
        await until(lambda: session.playout.released > released + 16)
        assert session.take().cues[0].prompt == "one"
