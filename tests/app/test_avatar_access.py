"""A living avatar hears, speaks and falls silent for the holder of its key alone, on every path that there is."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from avatar_client import tone, wav
from conftest import tiny_avatar, tiny_model
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from studio_app import client_of

import app.routes
from app import server
from app.model_library import ModelLibrary
from app.services import Services
from app.settings import from_environment
from models import catalog
from streaming.live.device import DeviceThread

TOKEN = "the-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}
AVATAR = "pocket-avatar"
WATCHING = {  # what a viewer without the key may use: it has tests of its own
    ("GET", "/api/sessions/{session}"),
    ("GET", "/api/sessions/{session}/ice"),
    ("POST", "/api/sessions/{session}/offer"),
    ("GET", "/watch/{session}"),
}


@dataclass(frozen=True)
class Avatar:
    """A session that lives, how to ask its server, and keys and links that are not its key."""

    client: TestClient
    id: str
    key: str
    link: str
    other_key: str

    def spoken_to(self) -> bool:
        """Return whether the session has changed: it has something to say, or it has ended."""
        status = self.client.get(f"/api/sessions/{self.id}", headers=AUTH)
        return status.status_code != 200 or status.json()["phase"] == "ended" or status.json()["to_say_s"] > 0


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Avatar]:
    folder = tmp_path_factory.mktemp("access")
    speaking = tiny_avatar()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.ENTRIES, AVATAR, replace(speaking.entry, name=AVATAR))
        speaking = replace(speaking, entry=catalog.ENTRIES[AVATAR])
        library = ModelLibrary(
            folder,
            torch.device("cpu"),
            DeviceThread(),
            load=lambda entry, *_: speaking if entry.name == AVATAR else tiny_model(),
        )
        settings = from_environment({"LONGTAKE_TOKEN": TOKEN, "LONGTAKE_GRACE": "600"})
        with client_of(server.create(Services.of(settings, library, folder), settings)) as client:
            scene = client.post("/api/sessions", json={"prompt": "a red ball", "seed": 5}, headers=AUTH).json()
            own = client.post("/api/sessions", json={"model": AVATAR, "seed": 3}, headers=AUTH).json()
            keyed = AUTH | {"x-longtake-key": own["key"]}
            link = client.post(f"/api/sessions/{own['id']}/links", json={}, headers=keyed).json()
            yield Avatar(client, own["id"], own["key"], link["link"], scene["key"])
            heard = client.post(f"/api/sessions/{own['id']}/audio", content=wav(tone(1)), headers=keyed)
            assert heard.status_code == 202, heard.text  # it lived all the time


def controlling_paths() -> list[tuple[str, str]]:
    """Return method and path of everything that the server does for a session and viewers may not ask for."""
    names = [module.name for module in pkgutil.iter_modules(app.routes.__path__)]
    routes = [r for name in names for r in importlib.import_module(f"app.routes.{name}").router.routes]
    known = [r for r in routes if isinstance(r, APIRoute) and "{session}" in r.path and r.include_in_schema]
    paths = {(method, r.path) for r in known for method in r.methods if method != "OPTIONS"}
    return sorted(path for path in paths - WATCHING if "/whep/" not in path[1] and "{resource}" not in path[1])


BODIES = {
    "audio": (wav(tone(1)), "audio/wav"),
    "say": (b'{"text": "hello"}', "application/json"),
    "control": (b'{"id": 1, "type": "interrupt"}', "application/json"),
    "links": (b"{}", "application/json"),
    "files": (b"GIF89a" + bytes(100), "image/gif"),
}


def test_the_paths_of_an_avatar_are_among_those_that_are_tried() -> None:
    tried = {path for _, path in controlling_paths()}
    assert {f"/api/sessions/{{session}}/{name}" for name in ("audio", "say", "interrupt", "utterances")} <= tried
    assert "/whip/{session}" in tried


@pytest.mark.parametrize(("method", "path"), controlling_paths())
def test_no_path_of_a_living_avatar_obeys_without_its_key(avatar: Avatar, method: str, path: str) -> None:
    content, kind = BODIES.get(path.rpartition("/")[2], (b"v=0\r\n", "application/sdp"))
    filled = path.replace("{utterance}", "u1").replace("{number}", "1")
    wrong = [
        {},
        {"authorization": "Bearer wrong"},
        AUTH,
        AUTH | {"x-longtake-key": ""},
        AUTH | {"x-longtake-key": "wrong"},
        AUTH | {"x-longtake-key": avatar.key[:-1]},
        AUTH | {"x-longtake-key": avatar.other_key},
        AUTH | {"x-longtake-key": TOKEN},
        {"x-longtake-key": avatar.other_key},
        {"authorization": f"Bearer {avatar.other_key}"},
    ]
    number = controlling_paths().index((method, path))  # wrong tokens are counted by address
    client = TestClient(avatar.client.app, "http://example.org", client=(f"198.51.100.{number}", 1))
    client.portal = avatar.client.portal
    for headers in wrong:
        for query in ("", f"?key={avatar.key}"):  # a key in an address would stand in the logs of proxies
            answer = client.request(
                method,
                filled.replace("{session}", avatar.id) + query,
                content=content if method != "GET" else None,
                headers=headers | {"content-type": kind, "x-forwarded-for": "192.0.2.1"},
            )
            assert answer.status_code in (401, 403), (headers, query, answer.text)
            assert list(answer.json()) == ["error"]
    shared = client.request(
        method,
        filled.replace("{session}", avatar.link),
        content=content if method != "GET" else None,
        headers=AUTH | {"content-type": kind},
    )
    assert shared.status_code in (403, 404, 405), shared.text
    assert not avatar.spoken_to()


@pytest.mark.parametrize("headers", [{}, AUTH, {"x-longtake-key": "wrong"}, AUTH | {"x-longtake-key": "wrong"}])
def test_no_socket_of_a_living_avatar_takes_sound_without_its_key(avatar: Avatar, headers: dict[str, str]) -> None:
    for name in (avatar.id, avatar.link):
        for query in ("", "?key=", "?key=wrong", f"?key={avatar.other_key}"):
            with (
                pytest.raises(WebSocketDisconnect) as refused,
                avatar.client.websocket_connect(f"/api/sessions/{name}/audio{query}", headers=headers) as socket,
            ):
                socket.receive_text()
            assert refused.value.code == 1008
    assert not avatar.spoken_to()
