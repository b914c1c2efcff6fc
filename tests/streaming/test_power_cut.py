"""Test that a power cut at any moment costs a render, a session's journal or a recording one fragment at most."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from power_cut import Recorder
from renders import CHUNKS, MODEL, TAKE, contents, render

from streaming.live.pacing import TICKS
from streaming.media.h264 import LiveEncoder
from streaming.media.live_recording import LiveRecording
from streaming.render_files import RenderFiles
from streaming.render_resume import PastRender
from streaming.rollout import Boundary, Rollout
from streaming.take.archive import Archive
from streaming.take.history import TakeFiles, TakeHistory
from streaming.take.take_file import load, parse

NAME = "0123456789ab"
JOURNAL, RECORDING = f"{NAME}.jsonl", f"{NAME}-1.mp4"


@pytest.fixture(autouse=True)
def short_fragments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.render_job.CHUNKS_PER_FRAGMENT", CHUNKS)
    monkeypatch.setattr("streaming.render_files.MOST_CHECKPOINTS", 2)


CHANGED = TAKE.replace("two", "three")
SCENES = {  # what was rendered before, if anything, and the command during which the power goes
    "render": (None, {}),
    "render another take over a film": ({}, {"text": CHANGED}),
    "extend": ({}, {"more": 9}),
    "from": ({}, {"start": 9}),
    "extend a changed take": ({}, {"text": CHANGED, "more": 9}),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.long)])
def test_a_render_that_loses_power_becomes_the_same_film(
    scene: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the same command, or --resume once the journal has the intent; at most a fragment is drawn again."""
    before, command = SCENES[scene]
    root, states = tmp_path / "root", tmp_path / "states"
    root.mkdir()
    states.mkdir()
    if before is not None:
        render(root, **before)
    with monkeypatch.context() as patch:
        recorder = Recorder(root, patch)
        drawn, made = (lambda *_: recorder.mark("chunk")), (lambda: recorder.mark("film"))
        first = render(root, progress=drawn, made=made, **command)
    assert contents(recorder.replayed(tmp_path / "replayed")) == contents(root)  # nothing was written past it
    wanted, outcomes = (root / "a.mp4").read_bytes(), Counter[str]()
    for cut, how, state in recorder.states(states, every):
        where = f"step {cut} of {len(recorder.steps)}: {how}"
        done = recorder.marked("film", cut) > 0
        if done:
            assert (state / "a.mp4").read_bytes() == wanted, where
        intent = PastRender(RenderFiles(state / "a.mp4")).intent
        asked = intent is not None and (intent.more, intent.start) == (command.get("more"), command.get("start"))
        by_resume = {"resume": True} | ({"text": command["text"]} if "text" in command else {})
        again = render(state, **(by_resume if done or (asked and cut % 2) else command | by_resume))
        assert (state / "a.mp4").read_bytes() == wanted, where
        assert again.differing == []
        redrawn = again.chunks - (first.chunks - recorder.marked("chunk", cut))
        assert done or redrawn <= CHUNKS, where
        outcomes["drawn again: a fragment at most" if redrawn > 0 else "nothing drawn again"] += 1
        shutil.rmtree(state)
    print(f"{scene}: {len(recorder.steps)} steps, {sum(outcomes.values())} states, {dict(outcomes)}")


def drawn_chunks(count: int) -> list[Boundary]:
    """Return chunks of a take whose cues land on the first and on the fourth."""
    return list(Rollout(MODEL, parse(TAKE.format(length=21), "t.yaml")).until(count))


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_a_session_that_loses_power_loses_at_most_the_chunk_that_was_being_synced(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, states, chunks = tmp_path / "root", tmp_path / "states", drawn_chunks(6)
    root.mkdir()
    states.mkdir()
    take = parse(TAKE.format(length=21), "t.yaml")
    history = TakeHistory(NAME, take)
    with monkeypatch.context() as patch:
        recorder = Recorder(root, patch)
        files = TakeFiles(root, {"model": "tiny"})
        files.begin(history)
        for boundary in chunks:
            cues = [line for line in take.cues if line.at == boundary.first]
            landed = [line.model_copy(update={"landed": boundary.first}) for line in cues]
            history.landed += landed
            history.hashes[boundary.first] = boundary.hash
            history.length = boundary.first + boundary.latents
            files.chunk(boundary, landed)
            lines = len(history.hashes)
            until(lambda lines=lines: recorder.on_disk(JOURNAL).count(b'"type":"chunk"') == lines)
            recorder.mark("chunk")
        files.end(history)
        files.close()
        recorder.mark("end")
    assert contents(recorder.replayed(tmp_path / "replayed")) == contents(root)
    outcomes = Counter[str]()
    for cut, how, state in recorder.states(states, every):
        where = f"step {cut} of {len(recorder.steps)}: {how}"
        archive, told = Archive(state), recorder.marked("chunk", cut)
        archive.recover()
        found = {a.history.id: a.history.hashes for a in archive.newest()}.get(history.id, {})
        assert found == dict(list(history.hashes.items())[: len(found)]), where
        assert told <= len(found) <= told + 1, where
        if found:
            assert load(archive.take_file(history.id)).length == 3 * len(found), where
        if recorder.marked("end", cut):
            assert archive.take_file(history.id).read_bytes() == (root / f"{history.id}.yaml").read_bytes(), where
        assert not list(state.glob("*.partial")), where
        outcomes["all" if len(found) == len(chunks) else "a beginning"] += 1
        shutil.rmtree(state)
    print(f"session: {len(recorder.steps)} steps, {sum(outcomes.values())} states, {dict(outcomes)}")


def until(condition: Callable[[], bool]) -> None:
    """Wait up to 30 seconds for a condition that another thread makes true."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_a_recording_that_loses_power_keeps_all_but_the_fragment_that_was_being_written(
    every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, states = tmp_path / "root", tmp_path / "states"
    root.mkdir()
    states.mkdir()
    journal = TakeFiles(root, {})  # of the recorded take, which has no end
    journal.begin(TakeHistory(NAME, parse(TAKE.format(length=21), "t.yaml")))
    journal.chunk(drawn_chunks(1)[0], [])
    journal.close()
    encoder, fps = LiveEncoder(64, 64, 16, 600_000), 16
    pictures = [np.full((64, 64, 3), 8 * i, np.uint8) for i in range(24)]
    packets = [p for i, picture in enumerate(pictures) for p in encoder.encode(picture, i * TICKS // fps)]

    async def record(recorder: Recorder) -> None:
        recording = LiveRecording(root / RECORDING, 64, 64, fps)
        running = asyncio.create_task(recording.run())
        for number, packet in enumerate(packets, 1):
            recording.offer(packet)
            # no faster than the disk, as it is in real time
            while recorder.on_disk(RECORDING).count(b"mdat") < number // 4:
                await asyncio.sleep(0.001)
        recording.end()
        await running
        recorder.mark("end")

    with monkeypatch.context() as patch:
        recorder = Recorder(root, patch)
        asyncio.run(record(recorder))
    whole = (root / RECORDING).read_bytes()
    assert contents(recorder.replayed(tmp_path / "replayed")) == contents(root)
    outcomes = Counter[str]()
    for cut, how, state in recorder.states(states, every):
        where, film = f"step {cut} of {len(recorder.steps)}: {how}", state / RECORDING
        written, synced = (recorder.on_disk(RECORDING, cut, way=way) for way in ("kept", "lost"))
        Archive(state).recover()
        recovered = film.read_bytes() if film.exists() else b""
        assert whole.startswith(recovered), where
        assert len(recovered) >= len(synced) or not film.exists(), where
        assert written.count(b"mdat") - recovered.count(b"mdat") <= 1, where
        if recorder.marked("end", cut):
            assert recovered == whole, where
        outcomes["all that was written" if recovered == written else "all but a fragment"] += 1
        shutil.rmtree(state)
    print(f"recording: {len(recorder.steps)} steps, {sum(outcomes.values())} states, {dict(outcomes)}")
