"""Share links watch one session, for as long and for as many viewers as its key holder says, and do nothing else."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from studio_app import client_of, socket_of, studio

from app import audience
from app.audience import Audience, AudienceFullError
from app.errors import ConflictError, NotFoundError
from app.share_links import MOST_LINKS, GoneError, ShareLinks

SESSION = "0123456789abcdef" * 2
TOKEN = "a-token"
AUTH = {"authorization": f"Bearer {TOKEN}"}


# -- what a link is ------------------------------------------------------------------------------------------------


def test_a_link_holds_until_its_time_and_no_longer() -> None:
    now = [1000.0]
    links = ShareLinks(clock=lambda: now[0])
    link = links.issue(SESSION, 60, 3)
    now[0] = 1059.9
    assert links.valid(link.text) == link
    assert (link.session, link.viewers, link.expires) == (SESSION, 3, 1060)
    now[0] = 1060
    with pytest.raises(GoneError, match="expired"):
        links.valid(link.text)
    assert links.of(SESSION) == []


def test_a_changed_or_foreign_link_is_no_link() -> None:
    links = ShareLinks()
    text = links.issue(SESSION, 60, 3).text
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises(NotFoundError):
            links.valid(text[:place] + other + text[place + 1 :])
    for foreign in (ShareLinks().issue(SESSION, 60, 3).text, "", "A" * 56, text[:-4], text + "AAAA", "é" * 56, SESSION):
        with pytest.raises(NotFoundError):
            links.valid(foreign)


def test_a_revoked_link_is_gone_and_the_others_hold() -> None:
    links = ShareLinks()
    first, second = links.issue(SESSION, 60, 3), links.issue(SESSION, 60, 3)
    links.revoke(SESSION, first.number)
    with pytest.raises(GoneError, match="revoked"):
        links.valid(first.text)
    assert links.of(SESSION) == [links.valid(second.text)] == [second]
    for session, number in ((SESSION, first.number), ("f" * 32, second.number)):
        with pytest.raises(NotFoundError):
            links.revoke(session, number)


def test_a_session_has_a_bounded_number_of_links_and_loses_them_at_its_end() -> None:
    now = [0.0]
    links = ShareLinks(clock=lambda: now[0])
    issued = [links.issue(SESSION, 60, 1) for _ in range(MOST_LINKS)]
    with pytest.raises(ConflictError, match="revoke one"):
        links.issue(SESSION, 60, 1)
    now[0] = 61
    last = links.issue(SESSION, 60, 1)
    assert links.of(SESSION) == [last]
    links.forget(SESSION)
    with pytest.raises(GoneError):
        links.valid(last.text)
    assert len({link.text for link in issued}) == MOST_LINKS


# -- how many may watch --------------------------------------------------------------------------------------------


def test_viewers_are_bounded_by_session_and_by_server_and_a_key_still_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience, "MOST_OF_SESSION", 3)
    monkeypatch.setattr(audience, "MOST_OF_SERVER", 4)
    monkeypatch.setattr(audience, "KEPT_FOR_KEYS", 2)
    room = Audience()

    def leave(why: str) -> None: ...

    first, *_ = [room.add("a", leave) for _ in range(3)]
    with pytest.raises(AudienceFullError, match="this session has 3 viewers") as full:
        room.add("a", leave)
    assert int((full.value.headers or {})["Retry-After"]) > 0
    room.add("b", leave)
    with pytest.raises(AudienceFullError, match="this server has 4 viewers"):
        room.add("b", leave)
    for _ in range(2):
        room.add("a", leave, controls=True)
    with pytest.raises(AudienceFullError):
        room.add("a", leave, controls=True)
    room.remove(first)
    room.remove(first)  # once
    with pytest.raises(AudienceFullError):
        room.add("a", leave)


@pytest.mark.asyncio
async def test_a_link_ends_its_viewers_with_its_time_and_a_viewer_replaces_itself_alone() -> None:
    room, links, left = Audience(), ShareLinks(), list[str]()
    link = links.issue(SESSION, 60, 2)

    def enter(name: str, viewer: str, seconds: float = 60) -> None:
        room.add(SESSION, lambda why: left.append(f"{name}: {why}"), link=link, viewer=viewer, seconds=seconds)

    enter("first", "x" * 16)
    enter("second", "y" * 16)
    with pytest.raises(AudienceFullError, match="this share link is full: 2 of 2"):
        enter("third", "z" * 16)
    enter("first again", "x" * 16, seconds=0)
    assert (left, room.watching(link)) == (["first: this viewer has connected anew"], 2)
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(left) < 2:
            await asyncio.sleep(0.01)
    assert left[1:] == ["first again: this share link has expired; ask for another"]
    room.dismiss(link.number)
    assert sorted(left[2:]) == [f"{name}: this share link was revoked" for name in ("first again", "second")]


# -- over HTTP -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    return studio(tmp_path_factory.mktemp("shared"), TOKEN=TOKEN, GRACE="600")


@pytest.fixture(scope="module")
def client(app: FastAPI) -> Iterator[TestClient]:
    with client_of(app) as client:
        yield client


@pytest.fixture(scope="module")
def session(client: TestClient) -> dict[str, Any]:
    got = client.post("/api/sessions", json={"prompt": "a red ball"}, headers=AUTH)
    assert got.status_code == 201
    return got.json()


@pytest.fixture(scope="module")
def sdp() -> str:
    async def offered() -> str:
        player = RTCPeerConnection()
        player.addTransceiver("video", direction="recvonly")
        await player.setLocalDescription(await player.createOffer())
        sdp = player.localDescription.sdp
        await player.close()
        return sdp

    return asyncio.run(offered())


@pytest.fixture
def share(client: TestClient, session: dict[str, Any]) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return a function that makes a link; all links are revoked afterwards, and nobody watches any more."""
    path, key = f"/api/sessions/{session['id']}/links", {"x-longtake-key": session["key"]}

    def make(**how: int) -> dict[str, Any]:
        got = client.post(path, json=how, headers=key)
        assert got.status_code == 201, got.text
        return got.json()

    yield make
    for link in client.get(path, headers=key).json():
        client.delete(f"{path}/{link['number']}", headers=key)


def whep(client: TestClient, name: str, sdp: str, **headers: str) -> Any:
    return client.post(f"/whep/{name}", content=sdp, headers={"content-type": "application/sdp", **headers})


def test_a_link_takes_the_place_of_the_id_wherever_a_session_is_watched_and_nowhere_else(
    client: TestClient, session: dict[str, Any], share: Callable[..., dict[str, Any]], sdp: str
) -> None:
    made = share(minutes=5, viewers=3)
    link = made["link"]
    assert (made["watch"], made["whep"], made["viewers"]) == (f"watch/{link}", f"whep/{link}", 3)
    assert client.get(f"/watch/{link}").status_code == 200
    assert client.get(f"/api/sessions/{link}").json()["type"] == "status"
    joined = client.post(f"/api/sessions/{link}/offer", json={"sdp": sdp})
    assert joined.status_code == 200
    played = whep(client, link, sdp)
    assert played.status_code == 201
    assert played.headers["location"].startswith(f"{link}/")
    resource = f"/whep/{played.headers['location']}"
    assert client.options(f"/whep/{link}").status_code == client.options(resource).status_code == 204
    with socket_of(client, f"/api/sessions/{link}/stream") as socket:
        hello = socket.receive_json()
        assert (hello["type"], hello["controls"]) == ("hello", False)
        assert whep(client, link, sdp).status_code == 503
    assert client.delete(resource).status_code == 200
    key = {"x-longtake-key": session["key"]}
    for method, path in (
        ("DELETE", ""), ("POST", "/control"), ("POST", "/links"), ("GET", "/links"), ("POST", "/interrupt"),
    ):  # fmt: skip
        body = {"id": 1, "type": "end"} if path == "/control" else {}
        assert client.request(method, f"/api/sessions/{link}{path}", json=body).status_code in (401, 404)
        assert client.request(method, f"/api/sessions/{link}{path}", json=body, headers=key | AUTH).status_code == 404
    assert client.post(f"/whip/{link}", content=sdp, headers={"content-type": "application/sdp"}).status_code == 404


def test_without_a_link_a_sessions_id_watches_with_the_token_or_the_key_alone(
    client: TestClient, session: dict[str, Any], sdp: str
) -> None:
    name, key = session["id"], {"x-longtake-key": session["key"]}
    assert whep(client, name, sdp).status_code == 403
    assert whep(client, "0" * 32, sdp).status_code == 403  # the same, whether there is such a session or not
    assert client.post(f"/api/sessions/{name}/offer", json={"sdp": sdp}).status_code == 403
    assert client.get(f"/api/sessions/{name}").status_code == 401
    assert client.get(f"/watch/{name}").status_code == 401
    for query in ("", "?key=wrong", "?key="):
        with (
            socket_of(client, f"/api/sessions/{name}/stream{query}") as socket,
            pytest.raises(WebSocketDisconnect) as closed,
        ):
            socket.receive_json()
        assert closed.value.code == 1008
        assert "key" in closed.value.reason
    for rights in (key, AUTH):
        played = whep(client, name, sdp, **rights)
        assert played.status_code == 201
        assert client.delete(f"/whep/{played.headers['location']}").status_code == 200
        assert client.get(f"/api/sessions/{name}", headers=rights).status_code == 200
    assert client.get(f"/watch/{name}", headers=AUTH).status_code == 200


def test_a_full_link_says_so_in_one_line_and_has_room_again_when_a_viewer_leaves(
    client: TestClient, session: dict[str, Any], share: Callable[..., dict[str, Any]], sdp: str
) -> None:
    link = share(viewers=1)["link"]
    played = whep(client, link, sdp)
    line = "this share link is full: 1 of 1 viewers are watching; try again later"
    for refused in (whep(client, link, sdp), client.post(f"/api/sessions/{link}/offer", json={"sdp": sdp})):
        assert (refused.status_code, refused.json()) == (503, {"error": line})
        assert int(refused.headers["retry-after"]) > 0
    with socket_of(client, f"/api/sessions/{link}/stream") as socket, pytest.raises(WebSocketDisconnect) as full:
        socket.receive_json()
    assert (full.value.code, full.value.reason) == (1013, line)
    assert whep(client, session["id"], sdp, **AUTH).status_code == 201  # the link is full, not the session
    client.delete(f"/whep/{played.headers['location']}")
    assert whep(client, link, sdp).status_code == 201


def test_a_page_that_connects_anew_is_not_refused_because_of_its_former_connection(
    client: TestClient, share: Callable[..., dict[str, Any]], sdp: str
) -> None:
    link = share(viewers=1)["link"]
    for _ in range(3):
        body = {"sdp": sdp, "viewer": "a-page-of-its-own"}
        assert client.post(f"/api/sessions/{link}/offer", json=body).status_code == 200
    address = f"/api/sessions/{link}/stream?viewer=a-page-of-its-own"
    with socket_of(client, address) as socket:
        assert socket.receive_json()["type"] == "hello"
        assert client.post(f"/api/sessions/{link}/offer", json={"sdp": sdp}).status_code == 503


def test_a_revoked_link_ends_its_viewers_and_is_answered_with_410(
    client: TestClient, session: dict[str, Any], share: Callable[..., dict[str, Any]], sdp: str
) -> None:
    made = share(viewers=4)
    whep(client, made["link"], sdp)
    path, key = f"/api/sessions/{session['id']}/links", {"x-longtake-key": session["key"]}
    with socket_of(client, f"/api/sessions/{made['link']}/stream") as socket:
        (listed,) = client.get(path, headers=key).json()
        assert listed == {**made, "watching": 2}
        assert client.delete(f"{path}/{made['number']}", headers=key).status_code == 204
        while (told := socket.receive())["type"] != "websocket.close":
            pass
        assert (told["code"], told["reason"]) == (1008, "this share link was revoked")
    assert client.delete(f"{path}/{made['number']}", headers=key).status_code == 404
    for answer in (whep(client, made["link"], sdp), client.get(f"/watch/{made['link']}")):
        assert (answer.status_code, answer.json()) == (410, {"error": "this share link was revoked"})


@pytest.mark.parametrize("how", [{"minutes": 0}, {"viewers": 0}, {"viewers": 51}, {"minutes": 10081}, {"x": 1}])
def test_a_link_has_bounds(client: TestClient, session: dict[str, Any], how: dict[str, int]) -> None:
    path, key = f"/api/sessions/{session['id']}/links", {"x-longtake-key": session["key"]}
    assert client.post(path, json=how, headers=key).status_code == 422
    assert client.post(path, json={}, headers={"x-longtake-key": "wrong"}).status_code == 401


def test_turn_credentials_end_with_the_link_that_they_are_given_for(tmp_path: Path, sdp: str) -> None:
    turn = {"ICE": '[{"urls": "turn:192.0.2.1"}]', "TURN_SECRET": "north", "TOKEN": TOKEN, "GRACE": "600"}
    with client_of(studio(tmp_path, **turn)) as client:
        session = client.post("/api/sessions", json={"prompt": "a red ball"}, headers=AUTH).json()
        own = {"x-longtake-key": session["key"]}
        began, path = time.time(), f"/api/sessions/{session['id']}"
        link = client.post(f"{path}/links", json={"minutes": 5}, headers=own).json()
        assert 3590 < ends(session["ice"]) - began < 3660
        assert 3590 < ends(client.get(f"{path}/ice", headers=own).json()) - began < 3660
        played = whep(client, link["link"], sdp)
        answers = [client.get(f"/api/sessions/{link['link']}/ice").text, played.headers["link"]]
        answers += [client.options(f"/whep/{link['link']}").headers["link"]]
        for told in answers:
            assert began + 290 < ends(told) <= link["expires"] + 1
        client.delete(f"/whep/{played.headers['location']}")


def ends(told: Any) -> int:
    """Return when the credentials of a TURN server end, in seconds since 1970."""
    found = re.search(r"(\d{10}):longtake", str(told))
    assert found is not None, told
    return int(found[1])


def test_offers_without_a_key_are_limited_by_address(app: FastAPI, session: dict[str, Any]) -> None:
    with client_of(app, ("203.0.113.77", 1)) as crowd:
        answers = [whep(crowd, "A" * 56, "v=0") for _ in range(62)]
    assert [a.status_code for a in answers] == [404] * 60 + [429] * 2
    assert answers[-1].json() == {"error": "too many offers; wait a little"}
    assert int(answers[-1].headers["retry-after"]) > 0
