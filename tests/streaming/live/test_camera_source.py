"""A live take follows its session's camera, never waits for it, and renders to the same latents from what it kept."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from conftest import tiny_model
from renders import MODEL
from sessions import async_test, running, say, until

from streaming.live.camera_footage import CameraFootage
from streaming.media.ingest import HELD, Camera, CameraFeed
from streaming.rollout import Rollout
from streaming.take.footage import TakeFootage
from streaming.take.take_file import Take, load


def put(feed: CameraFeed, *values: int) -> None:
    """Have the camera send pictures of 64x48, each of one grey."""
    for value in values:
        feed.put(av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, np.uint8), format="rgb24"))


def rendered(folder: Path, take: Take) -> dict[int, str]:
    """Return first latent → hash of every chunk of an offline rollout of the take whose files lie in the folder."""
    footage = TakeFootage(MODEL.entry, MODEL.entry.size, folder)
    rollout = Rollout(tiny_model(), take, footage=footage)
    chunks = take.chunks(MODEL.entry.rollout.grid, MODEL.entry.fps)
    return {boundary.first: boundary.hash for boundary in rollout.until(chunks)}


def test_all_that_has_arrived_is_spread_over_a_chunk_and_the_last_picture_is_held() -> None:
    camera = Camera()
    footage = CameraFootage(camera, (32, 32))

    def given(count: int) -> list[int]:
        frames = footage.frames("camera", 0, count)
        assert frames.shape == (count, 32, 32, 3)
        return [int(value) for value in frames[:, 16, 16, 0]]

    assert given(2) == [128, 128]  # grey before the first picture
    feed = camera.connect()
    assert given(1) == [128]
    assert not footage.lost
    put(feed, *range(100, 100 + HELD + 9))  # more than are held: the oldest are dropped
    assert given(4) == [109, 114, 119, 124]
    assert given(3) == [124] * 3
    put(feed, 10, 20)
    assert given(4) == [10, 10, 20, 20]
    feed.close()
    assert given(2) == [20, 20]
    assert footage.lost


@async_test
async def test_a_take_that_followed_a_camera_and_went_back_renders_to_the_same_latents(tmp_path: Path) -> None:
    async with running(tmp_path, model=tiny_model()) as (session, events):
        await until(lambda: session.index >= 3)
        feed = session.camera.connect()
        put(feed, 200)
        say(session, 1, type="source", source="camera", strength=0.5)
        await until(lambda: len(session.history.landed) == 2)
        since = session.history.landed[1].landed
        for value in (20, 90, 160):
            put(feed, value, value + 40)
            at = session.index
            await until(lambda at=at: session.index > at)
        feed.close()
        at = session.index
        await until(lambda: session.index > at + 6)  # a take does not wait for its camera
        assert [e.why for e in events if e.type == "warning"] == [
            "the camera has gone: its last picture is held until one is connected"
        ]
        before = session.history
        say(session, 2, type="rewind", latent=since + 3)
        await until(lambda: session.history.parent is not None)
        put(session.camera.connect(), 250, 0)
        await until(lambda: session.index >= since + 12)
        say(session, 3, type="source", source="none")
        await until(lambda: len(session.history.landed) == 3)
        branch = session.history
    assert before.landed[1].source == f"{before.id}-{since}.camera"
    assert branch.landed[1].source == f"{branch.id}-{since}.camera"
    for history in (before, branch):
        again = rendered(tmp_path, load(tmp_path / f"{history.id}.yaml"))
        assert again == history.hashes


@pytest.mark.parametrize(
    ("text", "says"),
    [("x", "not a record of a camera, as a session writes it"), ("{}\n", "the record of the camera is damaged")],
)
def test_a_take_goes_back_though_the_record_of_its_camera_is_damaged(tmp_path: Path, text: str, says: str) -> None:
    @async_test
    async def run() -> None:
        async with running(tmp_path, model=tiny_model()) as (session, events):
            put(session.camera.connect(), 200)
            say(session, 1, type="source", source="camera", strength=0.5)
            await until(lambda: len(session.history.landed) == 2)
            at = session.index
            await until(lambda: session.index >= at + 6)
            name = session.history.landed[1].source
            record = tmp_path / str(name)
            head = record.read_text().splitlines(keepends=True)[0]
            record.write_text(text if "not a record" in says else head + text)
            left = session.history.id
            say(session, 2, type="rewind", latent=at)
            await until(lambda: session.history.id != left)
            await until(lambda: session.index > at + 6)
            assert session.history.landed[1].source == name
        warned = [e.why for e in events if e.type == "warning" and "record" in e.why]
        assert warned == [f"{name}: {says}; the take cannot be rendered again"]

    run()


@async_test
async def test_what_the_camera_shows_changes_the_latents(tmp_path: Path) -> None:
    found = []
    for value in (0, 255):
        async with running(tmp_path, model=tiny_model()) as (session, _):
            put(session.camera.connect(), value)
            say(session, 1, type="source", source="camera", strength=0.5)
            await until(lambda session=session: len(session.history.landed) == 2)
            found.append(session.history.hashes[session.history.landed[1].landed])
    assert found[0] != found[1]


@pytest.mark.parametrize("rewinds", [False, True])
def test_a_continued_take_leaves_the_record_of_its_camera(tmp_path: Path, rewinds: bool) -> None:
    @async_test
    async def run() -> None:
        async with running(tmp_path, model=tiny_model()) as (session, _):
            put(session.camera.connect(), 200)
            say(session, 1, type="source", source="camera", strength=0.5)
            await until(lambda: len(session.history.landed) == 2)
            at = session.index
            await until(lambda: session.index >= at + 3)
            past = session.history
        async with running(tmp_path, past=past, model=tiny_model()) as (session, events):
            await until(lambda: session.index > past.length + 3)
            assert session.history.landed[-1].source == "none"
            if rewinds:
                say(session, 1, type="rewind", latent=past.length)
                await until(lambda: session.history.parent is not None and "@" in session.history.parent)
                await until(lambda: session.index > past.length + 3)
            last = session.history
        assert any(e.type == "warning" and "record of the camera" in e.why for e in events)
        assert rendered(tmp_path, load(tmp_path / f"{last.id}.yaml")) == last.hashes

    run()
