"""The API schema types every answer, and answers keep to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_model
from fastapi.testclient import TestClient

from app import server
from app.model_library import ModelLibrary
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
    ("name", "media_type"), [("studio.js", "text/javascript"), ("page.css", "text/css"), ("watch.html", "text/html")]
)
def test_files_of_the_pages_have_the_same_media_type_on_every_machine(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, media_type: str
) -> None:
    monkeypatch.setattr("starlette.responses.guess_type", lambda *_: ("text/plain", None))  # as Windows may have it
    answer = client.get(f"/page/{name}")
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
    again = client.get(f"/page/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
