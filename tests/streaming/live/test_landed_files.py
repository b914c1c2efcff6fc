"""The files of cues that land are hashed beside the event loop, which sends the film meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sessions import async_test, running, say, until, uploaded

from streaming.take.footage import file_hash


@async_test
async def test_the_event_loop_goes_on_while_a_file_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((40, 48, 3), 90, np.uint8)).save(path)
    begun, release, released = threading.Event(), threading.Event(), []

    def held(file: Path) -> str:
        begun.set()
        released.append(release.wait(10))
        return file_hash(file)

    monkeypatch.setattr("streaming.take.footage.file_hash", held)
    async with running(tmp_path) as (session, _):
        name = uploaded(session, path)
        say(session, 1, type="start", file=name)
        await until(begun.is_set)
        release.set()
        await until(lambda: any(cue.start == name for cue in session.history.landed))
        landed = session.history.landed[-1]
    assert released == [True]
    assert landed.hashes == {name: file_hash(path)}
