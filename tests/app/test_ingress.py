"""An ingress and two whole servers behind it, in threads of this process: one address, and sessions that move."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from conftest import tiny_model
from studio_server import free_port
from websockets.sync.client import connect

from app import server
from app.built_services import StudioOptions, VoiceChoice
from app.cluster import worker_server
from app.cluster.fleet import SessionReport, Worker, WorkerReport
from app.cluster.ingress import Ingress
from app.cluster.placement import Bounds
from app.cluster.shared_secrets import secret_of, worker_options
from app.cluster.worker_server import WorkerOptions, WorkerServer
from app.fitting import Fitting
from app.log_output import LogLevel
from app.model_library import ModelLibrary
from app.services import Seat, Services
from app.settings import from_environment
from streaming.live.device import DeviceThread
from streaming.take.archive import Archive

TOKEN = "a token for tests"
BEARER = {"authorization": f"Bearer {TOKEN}"}
http = httpx.Client(timeout=60)  # a busy machine answers late


def tiny_services(options: StudioOptions, _: object, *, seat: Seat | None = None, alone: bool = True) -> Services:
    library = ModelLibrary(options.data, torch.device("cpu"), DeviceThread(), load=lambda *_: tiny_model())
    return Services.of(options.settings, library, options.data, options.voice.made(), seat=seat, alone=alone)


class ThreadWorker:
    """A worker whose server has an event loop of its own."""

    def __init__(self, name: str, options: WorkerOptions) -> None:
        self.name, self._loop = name, asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.server = WorkerServer(name, "127.0.0.1", options)

    def run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def ended(self) -> None:
        await asyncio.Event().wait()

    async def report(self) -> WorkerReport:
        async def told() -> WorkerReport:
            return self.server.report()

        return await asyncio.wrap_future(self.run(told()))  # type: ignore[no-any-return]

    async def go_on(self, session: str, left: SessionReport) -> SessionReport:
        return await asyncio.wrap_future(self.run(self.server.go_on(session, left)))  # type: ignore[no-any-return]

    async def hand_over(self, session: str) -> int | None:
        return await asyncio.wrap_future(self.run(self.server.hand_over(session)))  # type: ignore[no-any-return]


class ThreadFleet:
    """Workers in threads of this process, which a kill only forgets."""

    def __init__(self, options: WorkerOptions) -> None:
        self.options, self.workers = options, dict[str, ThreadWorker]()

    async def found(self) -> list[Worker]:
        return []

    async def hire(self) -> Worker:
        worker = ThreadWorker(f"worker-{len(self.workers) + 1}", self.options)
        await asyncio.wrap_future(worker.run(worker.server.start()))
        self.workers[worker.name] = worker
        return worker

    async def kill(self, worker: Worker) -> None:
        pass


@contextmanager
def cluster(data: Path, bounds: Bounds) -> Iterator[tuple[str, ThreadFleet]]:
    """Serve an ingress with a token before workers with a tiny model; yield its address and its fleet."""
    settings = from_environment({"LONGTAKE_TOKEN": TOKEN})
    studio = StudioOptions(settings, data, "cpu", "torch", Fitting(), (), VoiceChoice())
    options = worker_options(studio, LogLevel.WARNING, secret_of(data))
    services = tiny_services(studio, None, alone=False)
    fleet = ThreadFleet(options)
    app = server.create(services, settings, ingress=Ingress(fleet, bounds, services, options))
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: len(workers(address)) == bounds.least)
        yield address, fleet
    finally:
        web.should_exit = True
        thread.join(15)


def workers(address: str) -> list[dict[str, Any]]:
    try:
        got = http.get(f"{address}/api/workers", headers=BEARER)
    except httpx.TransportError:
        return []
    return [w for w in got.json()["workers"] if w["state"] == "ready"]


def until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)


def begin(address: str) -> dict[str, Any]:
    got = http.post(f"{address}/api/sessions", json={"prompt": "a red ball", "seed": 5}, headers=BEARER)
    assert got.status_code == 201, got.text
    return got.json()  # type: ignore[no-any-return]


def status(address: str, session: dict[str, Any]) -> dict[str, Any]:
    got = http.get(f"{address}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    return got.json() if got.status_code == 200 else {"latent": -1, "status": got.status_code, **got.json()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ThreadFleet]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_server, "built_services", tiny_services)
        with cluster(tmp_path_factory.mktemp("data"), Bounds(2, 2, 0)) as serving:
            yield serving


def test_a_session_is_commanded_and_watched_through_the_ingress_and_moves_when_its_worker_is_drained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_server, "built_services", tiny_services)
    with cluster(tmp_path, Bounds(1, 2, 1)) as (address, _):
        session = begin(address)
        key = {"x-longtake-key": session["key"]}
        link = http.post(f"{address}/api/sessions/{session['id']}/links", json={}, headers=key).json()["link"]
        with connect(f"{address.replace('http', 'ws')}/api/sessions/{session['id']}/stream?key={session['key']}") as ws:
            heard = [json.loads(ws.recv(timeout=20)) for _ in range(2)]
            assert next(event["type"] for event in heard if event["type"] != "codec") == "hello"
            ws.send(json.dumps({"id": 7, "type": "prompt", "text": "two"}))
            until(lambda: _accepted(ws.recv(timeout=20), 7))
            until(lambda: len(workers(address)) == 2, 30)
            before = status(address, session)["timeline"]["take"]
            until(lambda: status(address, session)["latent"] > 30)
            (drained,) = [w["name"] for w in workers(address) if session["id"] in w["sessions"]]
            assert http.delete(f"{address}/api/workers/{drained}", headers=BEARER).status_code == 202
            end: list[str] = []
            until(lambda: _told(ws, end) or "moved" in end, 20)
            assert "phase" not in end, "the page is not told that the session has ended"
        until(lambda: status(address, session)["latent"] > 36, 30)
        assert [w["name"] for w in workers(address) if session["id"] in w["sessions"]] != [drained]
        after = status(address, session)["timeline"]
        assert after["take"] != before
        assert after["parent"].startswith(before)
        assert [cue["prompt"] for cue in after["cues"] if cue.get("prompt")] == ["a red ball", "two"]
        assert http.get(f"{address}/api/sessions/{link}").status_code == 200, "share links go on as well"
        assert {t["id"]: t["state"] for t in http.get(f"{address}/api/takes", headers=BEARER).json()}[
            after["take"]
        ] == "live"
        assert http.delete(f"{address}/api/takes/{after['take']}", headers=BEARER).status_code == 409
        assert http.delete(f"{address}/api/sessions/{session['id']}", headers=key).status_code == 204
        until(lambda: status(address, session).get("status") == 401)  # there is no session of this key any more
        until(lambda: not list((tmp_path / "sessions").iterdir()))
        assert Archive(tmp_path / "takes").told(after["take"]).ended


def _accepted(message: str | bytes, number: int) -> bool:
    event = json.loads(message) if isinstance(message, str) else {}
    return event.get("type") == "accepted" and event["id"] == number


def _told(ws: Any, end: list[str]) -> bool:
    """Collect the types of a socket's events; return whether it was closed."""
    try:
        message = ws.recv(timeout=0.2)
    except TimeoutError:
        return False
    except Exception:
        return True
    if isinstance(message, str):
        end.append(json.loads(message)["type"])
    return False


def test_what_a_session_needs_is_asked_of_who_comes_through_the_ingress(two: tuple[str, ThreadFleet]) -> None:
    address, _ = two
    assert http.post(f"{address}/api/sessions", json={"prompt": "x"}).status_code == 401
    session = begin(address)
    one = f"{address}/api/sessions/{session['id']}"
    assert http.get(one).status_code == 401, "without key, link or token"
    assert http.get(one, headers=BEARER).status_code == 200
    assert http.get(one, headers={"x-longtake-key": "no"}).status_code == 401
    command = {"id": 1, "type": "pause"}
    assert http.post(f"{one}/control", json=command, headers=BEARER).status_code == 403, "the token is no key"
    assert http.post(f"{one}/control", json=command, headers={"x-longtake-key": session["key"]}).status_code == 202
    offer = {"content": "v=0", "headers": {"content-type": "application/sdp"}}
    assert http.post(f"{address}/whep/{session['id']}", **offer).status_code == 403, "the worker asks for a link"
    missing = http.get(f"{address}/api/sessions/{'0' * 32}", headers=BEARER)
    assert (missing.status_code, missing.json()["error"]) == (404, "no such session; it has ended")
    assert http.get(f"{address}/watch/{'0' * 56}").status_code == 404
    foreign = {**BEARER, "origin": "https://other.example"}
    assert http.post(f"{address}/api/sessions", json={"prompt": "x"}, headers=foreign).status_code == 403
    http.delete(one, headers={"x-longtake-key": session["key"]})


def test_a_worker_answers_nobody_who_does_not_come_through_the_ingress(two: tuple[str, ThreadFleet]) -> None:
    _, fleet = two
    direct = next(iter(fleet.workers.values())).server.report().address
    assert http.get(f"{direct}/api/takes").status_code == 401
    assert http.get(f"{direct}/api/takes", headers=BEARER).status_code == 401, "the users' token is not a worker's"
    assert http.post(f"{direct}/api/sessions", json={"prompt": "x"}).status_code == 401


def test_all_workers_have_one_line_and_a_wrong_request_is_refused_with_its_reason(two: tuple[str, ThreadFleet]) -> None:
    address, _ = two
    wrong = http.post(f"{address}/api/sessions", json={"prompt": "x", "size": "9x"}, headers=BEARER)
    assert wrong.status_code == 400
    assert "size" in wrong.json()["error"]
    sessions = []
    while (
        got := http.post(f"{address}/api/sessions", json={"prompt": "a red ball"}, headers=BEARER)
    ).status_code == 201:
        sessions.append(got.json())
        assert len(sessions) < 40
    assert len(sessions) >= 2, got.text
    first = got.json()["error"]
    second = http.post(f"{address}/api/sessions", json={"prompt": "a red ball"}, headers=BEARER).json()["error"]
    assert (first["place"], second["place"]) == (1, 2)
    assert http.get(f"{address}/api/load", headers=BEARER).json()["waiting"] == 2
    assert "longtake_waiting 2.0" in http.get(f"{address}/metrics", headers=BEARER).text
    for session in sessions:
        key = {"x-longtake-key": session["key"]}
        http.delete(f"{address}/api/sessions/{session['id']}", headers=key)

    def begun() -> bool:
        body = {"prompt": "a red ball", "ticket": first["ticket"]}
        return http.post(f"{address}/api/sessions", json=body, headers=BEARER).status_code == 201

    until(begun, 20)


def test_the_secret_of_a_folder_is_made_once_and_readable_by_its_user_alone(tmp_path: Path) -> None:
    first = secret_of(tmp_path)
    assert secret_of(tmp_path) == first
    assert len(first) == 32
    assert [p.name for p in tmp_path.iterdir()] == ["cluster.key"]
    assert (tmp_path / "cluster.key").stat().st_mode & 0o077 == 0


def test_workers_are_replaced_when_an_option_changes_and_only_then(tmp_path: Path) -> None:
    settings = from_environment({"LONGTAKE_TOKEN": TOKEN})
    studio = StudioOptions(settings, tmp_path, "cpu", "torch", Fitting(), (), VoiceChoice())
    options = worker_options(studio, LogLevel.WARNING, b"secret")
    assert worker_options(replace(studio), LogLevel.WARNING, b"secret") == options
    assert worker_options(replace(studio, engine="auto"), LogLevel.WARNING, b"secret").release != options.release
    assert TOKEN not in repr(options)
