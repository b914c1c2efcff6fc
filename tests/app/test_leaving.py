"""When a session ends, nothing of it stays for viewers who do not hang up; they are told."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from aiortc import RTCPeerConnection, RTCSessionDescription
from conftest import tiny_model

from app.services import Studio
from streaming.live.session import Session
from streaming.take.take_file import CueLine, Take


@pytest.mark.asyncio
async def test_a_session_that_ends_says_so_and_takes_its_viewers_along(tmp_path: Path) -> None:
    studio = Studio(tmp_path / "models", tmp_path / "data", torch.device("cpu"))
    take = Take(model="tiny", seed=5, length=1, cues=[CueLine(prompt="one")])
    hosted = studio.sessions._begun(Session(tiny_model(), take, studio.thread))
    viewer = RTCPeerConnection()
    heard: list[str] = []
    channel = viewer.createDataChannel("control")
    channel.on("message", lambda m: heard.append(json.loads(m).get("phase")))
    viewer.addTransceiver("video", direction="recvonly")
    await viewer.setLocalDescription(await viewer.createOffer())
    _, answer = await studio.join(hosted, viewer.localDescription.sdp)
    await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    async with asyncio.timeout(20):
        while "live" not in heard:
            await asyncio.sleep(0.02)
        (peer,) = studio.peers.values()
        await studio.sessions.end(hosted.session.id)
        while "ended" not in heard or studio.peers:
            await asyncio.sleep(0.02)
    assert peer.gone.is_set()
    await viewer.close()
    studio.thread.close()
