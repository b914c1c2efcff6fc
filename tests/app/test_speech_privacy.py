"""Speech is kept only where it may be, and requests that bring it wait in a bounded line."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from avatar_client import wav
from conftest import tiny_avatar
from fastapi.testclient import TestClient
from studio_app import client_of

from app import server
from app.credentials import TooManyError
from app.model_library import ModelLibrary
from app.services import Services
from app.settings import from_environment
from app.speech_request import MOST_WAITING, SpeechOrder
from models import catalog
from streaming.live.device import DeviceThread
from streaming.speech.avatar import Avatar

NAME = "pocket-avatar"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Put a tiny avatar into the catalog; give the data folder and the one for temporary files."""
    monkeypatch.setitem(catalog.ENTRIES, NAME, replace(tiny_avatar().entry, name=NAME))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return [tmp_path / "data", tmp_path / "temporary"]


def speaking(data: Path, keep: str) -> Any:
    settings = from_environment({"LONGTAKE_KEEP_SPEECH": keep})
    load = lambda *_: replace(tiny_avatar(), entry=catalog.ENTRIES[NAME])  # noqa: E731
    library = ModelLibrary(data, torch.device("cpu"), DeviceThread(), load=load)
    return client_of(server.create(Services.of(settings, library, data), settings, local=True), base="http://localhost")


def begun(client: TestClient, sound: bytes) -> tuple[str, dict[str, str], str]:
    """Start a session that speaks; return its address, the headers that control it, and its take."""
    session = client.post("/api/sessions", json={"model": NAME, "seed": 3}).json()
    url, key = f"/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    assert client.post(f"{url}/audio", content=sound, headers=key).status_code == 202
    while client.get(url).json()["latent"] < 12:
        pass
    return url, key, session["take"]


def spoken(file: bytes) -> list[bytes]:
    """Return pieces of what is heard in a WAV file."""
    pieces = [file[n : n + 32] for n in range(44, len(file) - 32, 2000)]
    return [piece for piece in pieces if len(set(piece)) > 16]


@pytest.mark.parametrize("keep", ["no", "yes"])
def test_nothing_of_what_was_said_is_on_the_disk_after_a_session_that_keeps_no_speech(
    folders: list[Path], keep: str
) -> None:
    sound = wav(np.random.default_rng(5).uniform(-0.5, 0.5, 32_000))
    with speaking(folders[0], keep) as client:
        url, key, take = begun(client, sound)
        kept = folders[0] / "takes" / f"{take}.wav"
        while not (needles := spoken(kept.read_bytes())):  # while it runs, the sound is there to be downloaded
            pass
        assert client.delete(url, headers=key).status_code == 204
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        found = [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]
        assert found == ([f"{take}.wav"] if keep == "yes" else [])
        assert client.get(f"/api/takes/{take}").status_code == 200
        assert client.get(f"/api/takes/{take}/sound").status_code == (200 if keep == "yes" else 404)


def test_no_speakers_sound_of_a_dialogue_is_kept_either(folders: list[Path]) -> None:
    takes = folders[0] / "takes"
    with speaking(folders[0], "no") as client:
        speakers = [{"name": "Ada"}, {"name": "Bo"}]
        session = client.post("/api/sessions", json={"model": NAME, "seed": 3, "speakers": speakers}).json()
        url, key = f"/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
        while client.get(url).json()["latent"] < 6:
            pass
        assert len(list(takes.glob("*.wav"))) == 3  # of both and of each, while it runs
        assert client.delete(url, headers=key).status_code == 204
        assert not list(takes.glob("*.wav"))


def test_speech_that_a_kill_left_behind_is_deleted_at_the_next_start(folders: list[Path]) -> None:
    data = folders[0]
    with speaking(data, "no") as client:
        _, _, take = begun(client, wav(np.zeros(16_000)))
        journal = (data / "takes" / f"{take}.jsonl").read_bytes()
    (data / "takes" / f"{take}.jsonl").write_bytes(journal)  # as it is without the end of the session
    (data / "takes" / f"{take}.wav").write_bytes(b"speech")
    with speaking(data, "yes"):
        assert (data / "takes" / f"{take}.wav").exists()
    with speaking(data, "no"):
        assert not (data / "takes" / f"{take}.wav").exists()


class Uninterrupted:
    """Stand for an avatar that nobody interrupts."""

    epoch = 0


@pytest.mark.asyncio
async def test_more_uploads_than_may_wait_are_refused_at_once_and_the_others_keep_their_order() -> None:
    order, done = SpeechOrder(), list[int]()
    avatar, other = cast(Avatar, Uninterrupted()), cast(Avatar, Uninterrupted())
    may_go = asyncio.Event()

    async def request(number: int) -> None:
        async with order.of(avatar):
            await may_go.wait()
            done.append(number)

    requests = [asyncio.create_task(request(n)) for n in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyError, match=f"{MOST_WAITING} sounds wait") as refused:
        async with order.of(avatar):
            pass
    assert (refused.value.headers or {})["Retry-After"] == "1"
    async with order.of(other):
        pass
    may_go.set()
    await asyncio.gather(*requests)
    assert done == list(range(MOST_WAITING))
    async with order.of(avatar):
        pass
