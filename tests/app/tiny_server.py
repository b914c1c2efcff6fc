"""Serve the HTTP API with a tiny random model from a thread of this process, on a real socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn
from conftest import tiny_avatar, tiny_model
from studio_server import free_port

from app import gradio_page, server
from app.model_library import ModelLibrary
from app.services import Services
from app.settings import Settings, from_environment, publish_target
from models import catalog
from models.checkpoints.assemble import Model
from streaming.live.device import DeviceThread
from streaming.take.take_loras import OfferedLora

LOCAL = "127.0.0.1"


@contextmanager
def serving_tiny_model(
    data: Path,
    environment: dict[str, str] | None = None,
    host: str = LOCAL,
    *,
    loras: Sequence[OfferedLora] = (),
    pages: bool = False,
    model: Callable[[], Model] = tiny_model,
    osc: socket.socket | None = None,
    publish_to: str | None = None,
) -> Iterator[str]:
    """Serve sessions of a tiny model at an address of this machine, with `pages` the studio too; yield the address."""
    settings: Settings = from_environment(environment or {})
    settings = replace(settings, publish=publish_target(publish_to, settings.publish_token))
    library = ModelLibrary(data, torch.device("cpu"), DeviceThread(), loras=loras, load=lambda *_: model())
    app = server.create(Services.of(settings, library, data), settings, local=host == LOCAL, osc=osc)
    app = gradio_page.mount(app) if pages else app
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(app, host, port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    try:
        while not web.started and thread.is_alive():
            thread.join(0.02)
        yield f"http://{host}:{port}"
    finally:
        web.should_exit = True
        thread.join(15)


@contextmanager
def session_of(address: str, token: str = "") -> Iterator[dict[str, Any]]:
    """Start a session and yield it as the server describes it; end it afterwards."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    got = httpx.post(f"{address}/api/sessions", json={"prompt": "a red ball", "seed": 5}, headers=headers)
    assert got.status_code == 201, got.text
    session = got.json()
    try:
        yield session
    finally:
        headers |= {"x-longtake-key": session["key"]}
        httpx.delete(f"{address}/api/sessions/{session['id']}", headers=headers)


def status_of(address: str, session: dict[str, Any], token: str = "") -> dict[str, Any]:
    """Return the status of a session."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    status: dict[str, Any] = httpx.get(f"{address}/api/sessions/{session['id']}", headers=headers).json()
    return status


@contextmanager
def serving_tiny_avatar(data: Path) -> Iterator[str]:
    """Serve sessions of a tiny random avatar in the place of the one that ships; yield the address."""
    model = tiny_avatar()
    avatar = replace(model, entry=replace(model.entry, name=catalog.AVATAR.name))
    shipped = catalog.ENTRIES[catalog.AVATAR.name]
    catalog.ENTRIES[catalog.AVATAR.name] = avatar.entry
    try:
        with serving_tiny_model(data, model=lambda: avatar) as address:
            yield address
    finally:
        catalog.ENTRIES[catalog.AVATAR.name] = shipped
