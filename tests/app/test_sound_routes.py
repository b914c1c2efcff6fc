"""Sound that is sent raw is spoken at its own rate, and whoever sends it keeps the session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_avatar
from fastapi.testclient import TestClient
from studio_app import client_of, socket_of

from app import server
from app.model_library import ModelLibrary
from app.services import Services
from app.settings import from_environment
from models import catalog
from streaming.live.device import DeviceThread

NAME = "pocket-avatar"


@contextmanager
def serving(folder: Path, grace: int) -> Iterator[TestClient]:
    """Serve a tiny avatar; its sessions live `grace` seconds without anybody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.ENTRIES, NAME, replace(tiny_avatar().entry, name=NAME))
        load = lambda *_: replace(tiny_avatar(), entry=catalog.ENTRIES[NAME])  # noqa: E731
        library = ModelLibrary(folder, torch.device("cpu"), DeviceThread(), load=load)
        settings = from_environment({"LONGTAKE_GRACE": f"{grace}"})
        app = server.create(Services.of(settings, library, folder), settings, local=True)
        with client_of(app, base="http://localhost") as client:
            yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("sound"), 600) as client:
        yield client


def begun(client: TestClient) -> tuple[str, dict[str, str]]:
    """Start a session; return its address and the headers that control it."""
    session = client.post("/api/sessions", json={"model": NAME, "seed": 3}).json()
    return f"/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}


@pytest.fixture
def session(client: TestClient) -> Iterator[tuple[str, dict[str, str]]]:
    url, key = begun(client)
    yield url, key
    assert client.delete(url, headers=key).status_code == 204


@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_raw_sound_lasts_as_long_at_every_rate_by_request_and_socket(
    client: TestClient, session: tuple[str, dict[str, str]], rate: int
) -> None:
    (url, key), second = session, bytes(2 * rate)
    headers = key | {"content-type": f"audio/pcm; rate={rate}"}
    got = client.post(f"{url}/audio?utterance=a", content=second, headers=headers)
    assert (got.status_code, got.json()) == (202, {"utterance": "a", "seconds": 1.0, "notes": []})
    with socket_of(client, f"ws://localhost{url}/audio?key={key['x-longtake-key']}") as socket:
        socket.send_text(json.dumps({"type": "start", "utterance": "b", "rate": rate}))
        socket.send_bytes(second)
        socket.send_text(json.dumps({"type": "commit"}))
        ended: dict[str, Any] = {}
        while len(ended) < 2:
            event = json.loads(socket.receive_text())
            if event["type"] == "utterance.ended":
                ended[event["utterance"]] = (event["sample"], event["seconds"], event["why"])
    assert ended == {"a": (rate, 1.0, "complete"), "b": (rate, 1.0, "complete")}


def test_a_session_without_a_viewer_lives_while_its_sound_is_connected(tmp_path: Path) -> None:
    with serving(tmp_path, 1) as client:
        url, key = begun(client)
        with socket_of(client, f"ws://localhost{url}/audio?key={key['x-longtake-key']}"):
            time.sleep(4)  # nothing is sent
            assert client.get(url).status_code == 200
        until = time.monotonic() + 20
        while client.get(url).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_an_interruption_tells_what_was_heard_of_every_utterance_that_it_ends(
    client: TestClient, session: tuple[str, dict[str, str]]
) -> None:
    url, key = session
    headers = key | {"content-type": "audio/pcm; rate=16000"}
    for name in "abc":
        assert client.post(f"{url}/audio?utterance={name}", content=bytes(160_000), headers=headers).status_code == 202
    answer = client.post(f"{url}/interrupt", headers=key).json()
    assert [part["utterance"] for part in answer["heard"]] == ["a", "b", "c"]
    assert [part["sample"] for part in answer["heard"]][1:] == [0, 0]
    assert answer["epoch"] == client.get(url).json()["epoch"]
