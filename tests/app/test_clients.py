"""Connect clients other than the pages: an aiortc client with control, WHEP players and plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from studio_server import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("clients")) as (address, _):
        yield address


def begin(server: str) -> dict[str, Any]:
    got = httpx.post(f"{server}/api/sessions", json={"prompt": "a red ball bounces over the meadow by day", "seed": 3})
    assert got.status_code == 201, got.text
    return got.json()


async def offered(connection: RTCPeerConnection) -> str:
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    return connection.localDescription.sdp


async def frames(connection: RTCPeerConnection, count: int) -> list[Any]:
    track = connection.getTransceivers()[0].receiver.track
    return [await asyncio.wait_for(track.recv(), 15) for _ in range(count)]


def test_a_python_client_watches_and_changes_the_prompt(server: str) -> None:
    async def client() -> None:
        session, connection = begin(server), RTCPeerConnection()
        heard: list[dict[str, Any]] = []
        channel = connection.createDataChannel("control")
        channel.on("message", lambda m: heard.append(json.loads(m)))
        sdp = await offered(connection)
        url = f"{server}/api/sessions/{session['id']}"
        answer = httpx.post(f"{url}/offer", json={"sdp": sdp, "key": session["key"]}).json()
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        got = await frames(connection, 8)
        assert (got[0].width, got[0].height) == (256, 256)
        channel.send(json.dumps({"id": 1, "type": "prompt", "text": "a blue fish circles over the sea at night"}))
        async with asyncio.timeout(20):
            while not any(e["type"] == "shown" for e in heard):
                await frames(connection, 1)
        assert next(e["type"] for e in heard if e.get("id") == 1) == "accepted"
        assert [e["n"] for e in heard] == list(range(1, len(heard) + 1))
        await connection.close()
        httpx.delete(url, headers={"x-longtake-key": session["key"]})

    asyncio.run(client())


def test_a_whep_client_watches_and_leaves(server: str) -> None:
    async def client() -> None:
        session, connection = begin(server), RTCPeerConnection()
        headers = {"content-type": "application/sdp"}
        answer = httpx.post(f"{server}/whep/{session['id']}", content=await offered(connection), headers=headers)
        assert answer.status_code == 201
        assert answer.headers["content-type"].startswith("application/sdp")
        await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        assert len(await frames(connection, 8)) == 8
        url = f"{server}/api/sessions/{session['id']}"
        assert httpx.get(url).json()["viewers"] == 1
        assert httpx.delete(urljoin(str(answer.url), answer.headers["location"])).status_code == 200
        assert httpx.get(url).json()["viewers"] == 0
        await connection.close()
        httpx.delete(url, headers={"x-longtake-key": session["key"]})

    asyncio.run(client())


def test_the_same_seed_and_prompt_give_the_same_take(server: str, tmp_path: Path) -> None:
    def hashes() -> str:
        session = begin(server)
        url = f"{server}/api/sessions/{session['id']}"
        for _ in range(100):
            if httpx.get(url).json()["latent"] >= 6:
                break
        take = httpx.get(f"{server}/api/takes/{session['take']}").text
        httpx.delete(url, headers={"x-longtake-key": session["key"]})
        return take.split("length:")[0]

    assert hashes() == hashes()


def test_health_and_metrics_are_served(server: str) -> None:
    session = begin(server)
    text = httpx.get(f"{server}/metrics").text
    assert "longtake_sessions 1.0" in text
    assert httpx.get(f"{server}/readyz").json() == {"ready": True}
    httpx.delete(f"{server}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    assert "longtake_sessions 0.0" in httpx.get(f"{server}/metrics").text


def test_the_newest_window_controls_and_commands_of_an_older_one_are_refused(server: str) -> None:
    async def clients() -> None:
        session = begin(server)
        url = f"{server.replace('http', 'ws')}/api/sessions/{session['id']}/stream?key={session['key']}"

        async def said(socket: Any, number: int) -> dict[str, Any]:
            await socket.send(json.dumps({"id": number, "type": "seed", "seed": 5}))
            while True:
                message = await asyncio.wait_for(socket.recv(), 15)
                if isinstance(message, str) and (event := json.loads(message)).get("id") == number:
                    return event

        async with websockets.connect(url) as first:
            assert (await said(first, 1))["type"] == "accepted"
            async with websockets.connect(url) as second:
                assert (await said(second, 2))["type"] == "accepted"
                refused = await said(first, 3)
                assert refused["type"] == "refused"
                assert "another window" in refused["why"]
        httpx.delete(f"{server}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})

    asyncio.run(clients())


@pytest.mark.parametrize("name", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::1", ""])
def test_a_foreign_host_name_is_refused_without_a_token(server: str, name: str) -> None:
    assert httpx.get(f"{server}/api/models", headers={"host": name}).status_code in (400, 421)
    assert httpx.get(f"{server}/api/models", headers={"host": "localhost:7860"}).status_code == 200
