"""Make the studio's application without a server, with a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from conftest import tiny_model
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession

from app import server
from app.model_library import ModelLibrary
from app.services import Services
from app.settings import from_environment, public_address
from streaming.live.device import DeviceThread

PEER = ("203.0.113.9", 5000)  # where requests come from (TEST-NET-3)


def studio(folder: Path, *, local: bool = False, public_url: str | None = None, **environment: str) -> FastAPI:
    """Return the application of a server with these variables of the environment."""
    library = ModelLibrary(folder, torch.device("cpu"), DeviceThread(), load=lambda *_: tiny_model())
    settings = from_environment({f"LONGTAKE_{name}": value for name, value in environment.items()})
    settings = replace(settings, public=public_address(public_url))
    return server.create(Services.of(settings, library, folder), settings, local=local)


@contextmanager
def client_of(app: FastAPI, address: tuple[str, int] = PEER, base: str = "http://example.org") -> Iterator[TestClient]:
    """Run an application, and give a client at this address that follows no redirects."""
    with TestClient(app, base, client=address, follow_redirects=False) as client:
        yield client


@contextmanager
def socket_of(client: TestClient, address: str) -> Iterator[WebSocketTestSession]:
    """Connect a WebSocket; when it is left, starlette's client cancels an application that has not ended by itself."""
    with suppress(CancelledError), client.websocket_connect(address) as socket:
        yield socket
