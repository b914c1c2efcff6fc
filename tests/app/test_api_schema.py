"""The API schema types every answer, and answers keep to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_model
from fastapi.testclient import TestClient
from studio_app import client_of, studio

from app import gradio_page, server
from app.model_library import ModelLibrary
from app.page_folder import PAGE
from app.routes.sessions import SessionStatus
from app.services import Services
from app.settings import from_environment
from streaming.live.device import DeviceThread


@pytest.fixture
def client(tmp_path: Path) -> Any:
    library = ModelLibrary(tmp_path, torch.device("cpu"), DeviceThread(), load=lambda *_: tiny_model())
    app = server.create(Services(library, tmp_path), from_environment({}), local=True)
    with TestClient(app, base_url="http://localhost") as client:
        yield client


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Serve with the pages of Gradio, whose application is mounted at the root."""
    app = gradio_page.mount(studio(tmp_path_factory.mktemp("mounted"), local=True))
    with client_of(app, base="http://localhost") as client:
        yield client


def test_every_answer_is_a_model_or_a_file_of_a_named_type(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    answers = [
        (method, path, status, media_type, content.get("schema"))
        for path, methods in schema["paths"].items()
        for method, endpoint in methods.items()
        for status, answer in endpoint["responses"].items()
        for media_type, content in answer.get("content", {}).items()
    ]
    assert len(answers) > 60
    for *where, media_type, described in answers:
        if media_type == "application/json":
            assert described, where
            assert "HTTPValidationError" not in str(described), where
            assert described.get("type") != "object", where
    models = schema["components"]["schemas"].values()
    assert all(model["properties"] for model in models if model["type"] == "object")


def test_the_status_of_a_session_is_its_status_event_with_the_timeline(client: TestClient) -> None:
    session = client.post("/api/sessions", json={"prompt": "a red ball", "seed": 5}).json()
    while not (got := client.get(f"/api/sessions/{session['id']}").json())["timeline"]["cues"]:
        pass  # the prompt lands with the first chunk
    assert SessionStatus.model_validate(got).timeline.take == session["take"]
    assert got["type"] == "status"
    assert got["timeline"]["cues"] == [{"prompt": "a red ball", "landed": 0}]  # without defaults
    assert "state" not in got  # only an avatar has one


def test_errors_have_the_shape_that_the_schema_gives(client: TestClient) -> None:
    for answer, status in (
        (client.get("/api/takes/0123456789ab"), 404),
        (client.post("/api/sessions", json={"seed": -1}), 422),
        (client.get("/nothing"), 404),
    ):
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("name", "media_type"), [("studio.js", "text/javascript"), ("base.css", "text/css"), ("watch.html", "text/html")]
)
def test_files_of_the_pages_have_the_same_media_type_on_every_machine(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, media_type: str
) -> None:
    monkeypatch.setattr("starlette.responses.guess_type", lambda *_: ("text/plain", None))  # as Windows may have it
    answer = client.get(f"/page/{name}", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    again = client.get(f"/page/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


def test_scripts_are_packed_for_browsers_that_ask_for_it_and_plain_for_others(client: TestClient) -> None:
    text = (PAGE / "studio.js").read_text(encoding="utf-8")
    packed = client.get("/page/studio.js", headers={"accept-encoding": "gzip, br"})
    plain = client.get("/page/studio.js", headers={"accept-encoding": "identity"})
    part = client.get("/page/studio.js", headers={"accept-encoding": "gzip", "range": "bytes=0-9"})
    assert packed.text == plain.text == text
    assert int(packed.headers["content-length"]) < len(text) / 2 < int(plain.headers["content-length"])
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["etag"] != plain.headers["etag"]
    assert (part.status_code, part.content) == (206, text.encode()[:10])
    assert "content-encoding" not in client.get("/page/media/inter.woff2").headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404), ("GET", "/api/nothing", 404), ("GET", "/api/faces/..%2f..%2fetc", 404),
        ("GET", "/assets/..%2f..%2fx", 403), ("GET", "/static/%2e%2e%2fx", 403), ("GET", "/avatar/static/..%2fx", 403),
        ("GET", "/avatar/nothing", 404), ("GET", "/page/nothing.js", 404), ("GET", "/page/..%2fserver.py", 404),
        ("PUT", "/api/sessions", 405), ("DELETE", "/api/models", 405), ("PUT", "/api/takes/0123456789ab", 405),
        ("POST", "/", 405), ("POST", "/config", 405), ("GET", "/monitoring", 403), ("GET", "/%00", 404),
        ("DELETE", "/api/takes/0123456789ab/recordings/x", 405), ("POST", "/api/sessions", 422),
        ("POST", "/api/faces", 405),
        ("POST", "/gradio_api/upload", 404), ("GET", f"/whep/{'0' * 32}", 405),
    ],
)  # fmt: skip
def test_errors_of_every_part_of_the_server_have_one_shape(
    mounted: TestClient, method: str, path: str, status: int
) -> None:
    answer = mounted.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert isinstance(answer.json()["error"], str)
    assert answer.headers["content-length"] == str(len(answer.content))
    if status == 405 and path.startswith("/api/"):
        assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"}
        assert method not in answer.headers["allow"]
