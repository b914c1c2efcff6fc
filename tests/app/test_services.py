"""A session that ends closes its viewers' connections, and background renders run on the server's engine."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from subprocess import PIPE

import psutil
import pytest
import torch
from aiortc import RTCPeerConnection, RTCSessionDescription
from conftest import tiny_model
from fastapi.testclient import TestClient

from app import server
from app.model_library import ModelLibrary
from app.render_program import INSTALLATION, render_program
from app.services import Services
from app.settings import from_environment
from models.checkpoints.assemble import Model
from streaming.live.device import DeviceThread
from streaming.live.pacing import LookAhead
from streaming.take.take_file import CueLine, Take


@pytest.mark.asyncio
async def test_viewers_are_told_of_a_sessions_end_and_disconnected(tmp_path: Path) -> None:
    thread = DeviceThread()
    library = ModelLibrary(tmp_path, torch.device("cpu"), thread, load=lambda *_: tiny_model())
    services = Services(library, tmp_path)
    take = Take(model="pocket", seed=5, length=1, cues=[CueLine(prompt="one")])
    hosted = await services.sessions.create(take, LookAhead.SMOOTH)
    viewer = RTCPeerConnection()
    heard: list[str] = []
    channel = viewer.createDataChannel("control")
    channel.on("message", lambda m: heard.append(json.loads(m).get("phase")))
    viewer.addTransceiver("video", direction="recvonly")
    await viewer.setLocalDescription(await viewer.createOffer())
    _, answer = await services.join(hosted, viewer.localDescription.sdp)
    await viewer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    async with asyncio.timeout(20):
        while "live" not in heard:
            await asyncio.sleep(0.02)
        (peer,) = services.peers.values()
        await services.sessions.end(hosted.session.id)
        while "ended" not in heard or services.peers:
            await asyncio.sleep(0.02)
    assert peer.gone.is_set()
    await viewer.close()
    thread.close()


def test_a_take_of_which_no_chunk_is_on_the_disk_cannot_be_continued_yet(tmp_path: Path) -> None:
    thread, may_draw = DeviceThread(), threading.Event()
    library = ModelLibrary(tmp_path, torch.device("cpu"), thread, load=lambda *_: tiny_model())
    app = server.create(Services(library, tmp_path), from_environment({}), local=True)
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        assert client.portal is not None
        client.portal.start_task_soon(thread.run, lambda: may_draw.wait(20))
        take = client.post("/api/sessions", json={"prompt": "a red ball"}).json()["take"]
        got = client.post(f"/api/takes/{take}/continue", json={})
        may_draw.set()
    assert (got.status_code, got.json()) == (
        409,
        {"error": "no chunk of this take is on the server's disk; continue it once it has one"},
    )


def with_int8(model: Model) -> Model:
    return replace(model, engine={"engine": "onnx", "precision": "int8", "runtime": "1"})


@pytest.mark.asyncio
async def test_a_background_render_runs_on_the_engine_that_runs_the_model_here(tmp_path: Path) -> None:
    thread, loaded = DeviceThread(), iter([with_int8(tiny_model()), tiny_model()])
    library = ModelLibrary(
        tmp_path / "models", torch.device("cpu"), thread, engine="onnx:int8", load=lambda *_: next(loaded)
    )
    await library.load("pocket")
    await library.load("pocket-avatar")  # it has no such engine, and runs in torch
    models = ("pocket", "pocket-avatar", "longlive-1.3b")  # the last was not loaded yet, and may lack the engine
    programs = [render_program(library, model, tmp_path / "t.yaml", tmp_path / "t.mp4") for model in models]
    assert [p.arguments[-1] for p in programs] == ["onnx:int8", "torch:fp32", "auto"]
    assert programs[0].arguments[3:] == [
        "render", str(tmp_path / "t.yaml"), "-o", str(tmp_path / "t.mp4"), "--resume", "--restart", "--no-links",
        "--device", "cpu", "--engine", "onnx:int8",
    ]  # fmt: skip
    assert programs[0].environment["LONGTAKE_MODELS"] == str(tmp_path / "models")
    thread.close()


def test_the_render_program_is_found_from_the_folder_that_it_starts_in(tmp_path: Path) -> None:
    thread = DeviceThread()
    library = ModelLibrary(tmp_path, torch.device("cpu"), thread)
    program = render_program(library, "longlive-1.3b", tmp_path / "none.yaml", tmp_path / "film.mp4")
    process = subprocess.Popen(
        program.arguments, cwd=program.folder, env=program.environment, stdin=PIPE, stderr=PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.read().startswith(f"error: {tmp_path}/none.yaml: cannot be read")
    assert process.wait() == 1
    thread.close()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
time.sleep(60)
"""
CHILD = """
import time
from app.supervised import end_with_parent
end_with_parent()
print("runs", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_a_render_ends_with_a_server_that_is_killed_even_while_it_is_held(stopped: bool) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, CHILD], cwd=INSTALLATION, stdout=PIPE, text=True)
    assert parent.stdout is not None
    number, said = parent.stdout.readline().split()
    child = psutil.Process(int(number))
    assert said == "runs"
    if stopped:
        child.suspend()
    parent.kill()
    parent.wait()
    try:
        child.wait(10)
    finally:
        if child.is_running():
            child.kill()
