"""A camera is connected by WHIP, and the status of its session tells what it sends."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import av
import httpx
import numpy as np
import pytest
import torch
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from conftest import tiny_model
from test_whep import GSTREAMER, PYTHON, needs_gstreamer
from tiny_server import serving_tiny_model, session_of, status_of

from streaming.take.camera_record import CameraRecord
from streaming.take.take_file import parse

TOKEN = "secret"  # of the server; a camera needs only the session's key


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("whip"), {"LONGTAKE_TOKEN": TOKEN}) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server, TOKEN) as session:
        yield session


class Grey(VideoStreamTrack):
    """A camera whose pictures of 64x48 are all of one grey, 30 a second."""

    def __init__(self, level: int = 128) -> None:
        super().__init__()
        self.level = level

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), self.level, np.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        return frame


async def camera_status(server: str, session: dict[str, Any]) -> dict[str, Any]:
    """Return what the status tells of the camera once a second picture has arrived."""
    async with asyncio.timeout(30):
        while not ((status := status_of(server, session, TOKEN))["camera"] or {}).get("fps"):
            await asyncio.sleep(0.02)
    camera: dict[str, Any] = status["camera"]
    return camera


async def publish(
    server: str, session: dict[str, Any], page: RTCPeerConnection, key: str, level: int = 128
) -> httpx.Response:
    """Offer a camera of a grey with a key; set the answer if there is one."""
    page.addTransceiver(Grey(level), direction="sendonly")
    await page.setLocalDescription(await page.createOffer())
    headers = {"content-type": "application/sdp", "authorization": f"Bearer {key}"}
    url = f"{server}/whip/{session['id']}"
    got = await asyncio.to_thread(httpx.post, url, content=page.localDescription.sdp, headers=headers)
    if got.status_code == 201:
        await page.setRemoteDescription(RTCSessionDescription(got.text, "answer"))
    return got


def test_ice_credentials_are_only_for_the_holder_of_the_key(tmp_path: Path) -> None:
    ice = '[{"urls": "turn:127.0.0.1:9"}]'
    environment = {"LONGTAKE_TOKEN": TOKEN, "LONGTAKE_ICE": ice, "LONGTAKE_TURN_SECRET": "shared"}
    with serving_tiny_model(tmp_path, environment) as address, session_of(address, TOKEN) as session:
        whip = f"{address}/whip/{session['id']}"
        stranger, wrong = httpx.options(whip), httpx.options(whip, headers={"authorization": "Bearer other"})
        holder = httpx.options(whip, headers={"authorization": f"Bearer {session['key']}"})
    assert [answer.status_code for answer in (stranger, wrong, holder)] == [204, 204, 204]
    assert "link" not in stranger.headers
    assert "link" not in wrong.headers
    assert "credential=" in holder.headers["link"]


def test_a_camera_is_told_in_the_status_while_it_is_connected(server: str, session: dict[str, Any]) -> None:
    async def cameras() -> None:
        key, headers = session["key"], {"authorization": f"Bearer {session['key']}"}
        assert status_of(server, session, TOKEN)["camera"] is None
        stranger = RTCPeerConnection()
        assert (await publish(server, session, stranger, "wrong")).status_code == 403
        await stranger.close()
        first, second = RTCPeerConnection(), RTCPeerConnection()
        got = await publish(server, session, first, key)
        assert got.status_code == 201, got.text
        camera = await camera_status(server, session)
        assert (camera["width"], camera["height"]) == (64, 48)
        assert camera["fps"] == pytest.approx(30, rel=0.1)
        assert 0 <= camera["age_ms"] < 5000
        resource = urljoin(str(got.url), got.headers["location"])
        assert httpx.delete(resource).status_code == 403
        newer = await publish(server, session, second, key)
        async with asyncio.timeout(20):  # the newer camera takes the place of the first, whose connection is closed
            while httpx.options(resource).status_code != 404:
                await asyncio.sleep(0.02)
        await camera_status(server, session)
        newer_resource = urljoin(str(newer.url), newer.headers["location"])
        assert httpx.delete(newer_resource, headers=headers).status_code == 200
        assert status_of(server, session, TOKEN)["camera"] is None
        await first.close()
        await second.close()

    asyncio.run(cameras())


@pytest.mark.parametrize(("level", "other"), [(20, 230), (230, 20)])
def test_a_take_follows_the_camera_and_keeps_what_it_was_given(
    server: str, session: dict[str, Any], tmp_path: Path, level: int, other: int
) -> None:
    async def follow() -> None:
        camera = RTCPeerConnection()
        assert (await publish(server, session, camera, session["key"], level)).status_code == 201
        await camera_status(server, session)
        command = {"id": 1, "type": "source", "source": "camera", "strength": 0.5}
        got = httpx.post(f"{url}/control", json=command, headers={"x-longtake-key": session["key"]})
        assert got.status_code == 202, got.text
        async with asyncio.timeout(30):
            while len((status := status_of(server, session, TOKEN))["timeline"]["cues"]) < 2:
                await asyncio.sleep(0.02)
            while status_of(server, session, TOKEN)["latent"] < status["latent"] + 6:
                await asyncio.sleep(0.02)
        await camera.close()

    url, token = f"{server}/api/sessions/{session['id']}", {"authorization": f"Bearer {TOKEN}"}
    asyncio.run(follow())
    address = f"{server}/api/takes/{session['take']}"
    cue = parse(httpx.get(address, headers=token).text, "take.yaml").cues[1]
    assert cue.source == f"{session['take']}-{cue.at}.camera"
    path = tmp_path / "kept.camera"
    path.write_bytes(httpx.get(f"{address}/files", params={"name": cue.source}, headers=token).content)
    kept = CameraRecord(path, path.name).before(24)
    assert len(kept) >= 2

    def apart(grey: int) -> float:
        frames = torch.full((5, 32, 32, 3), grey, dtype=torch.uint8)
        encoded = tiny_model().generator.codec.encode_stream().encode(frames)[:, :, -1:]
        return max(float((given.latents[:, :, -1:].float() - encoded).abs().mean()) for given in kept.values())

    assert apart(level) < 0.5 * apart(other)  # float16 is coarse beside what the tiny codec tells of a grey


@pytest.mark.parametrize("codec", ["h264", "vp8"])
@needs_gstreamer
def test_gstreamer_publishes(server: str, session: dict[str, Any], codec: str) -> None:
    command = [PYTHON, str(GSTREAMER), "whip", f"{server}/whip/{session['id']}", session["key"], codec]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as gstreamer:
        try:
            camera = asyncio.run(camera_status(server, session))
            assert (camera["width"], camera["height"]) == (320, 240)
            assert camera["fps"] == pytest.approx(15, rel=0.2)
            said, _ = gstreamer.communicate("leave\n", timeout=20)
        finally:
            gstreamer.kill()
    assert json.loads(said.splitlines()[-1]) == {"left": 200}
    assert status_of(server, session, TOKEN)["camera"] is None
