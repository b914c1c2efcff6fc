"""Bodies of requests are read strictly: a value of another JSON type than described is refused, on every route."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import ValidationError
from studio_app import client_of, studio

import app.routes
from app.request_body import RequestBody
from streaming.live.pacing import LookAhead

OTHER_TYPES: dict[str, list[Any]] = {
    "integer": [True, "1", 1.0],
    "number": [True, "1"],
    "boolean": [1, "true"],
    "string": [1, True, ["a"]],
}


def bodies() -> list[type[Any]]:
    """Return the models of all JSON bodies that a route of the server takes."""
    names = [module.name for module in pkgutil.iter_modules(app.routes.__path__)]
    found = [importlib.import_module(f"app.routes.{name}").router.routes for name in names]
    taken = [route.body_field for routes in found for route in routes if isinstance(route, APIRoute)]
    return [field.field_info.annotation for field in taken if field is not None and field.field_info.annotation]


@pytest.mark.parametrize("body", bodies(), ids=lambda body: body.__name__)
def test_every_field_of_every_body_refuses_values_of_other_types(body: type[Any]) -> None:
    assert issubclass(body, RequestBody), f"{body.__name__} is not read strictly"
    tried = 0
    for name, schema in body.model_json_schema()["properties"].items():
        kinds = {kind.get("type") for kind in schema.get("anyOf", [schema])}
        for value in [value for kind in kinds & OTHER_TYPES.keys() for value in OTHER_TYPES[kind]]:
            with pytest.raises(ValidationError) as refused:
                body.model_validate({name: value})
            assert (name,) in [error["loc"] for error in refused.value.errors()], (name, value)
            tried += 1
    assert tried


def test_a_link_is_not_made_for_true_minutes_and_a_look_ahead_is_still_named_by_its_word(tmp_path: Path) -> None:
    with client_of(studio(tmp_path, local=True, GRACE="600"), base="http://localhost") as client:
        got = client.post("/api/sessions", json={"prompt": "a red ball", "look_ahead": LookAhead.LOSSLESS.value})
        assert got.status_code == 201
        session = got.json()
        key = {"x-longtake-key": session["key"]}
        for minutes in (True, "5", 5.0):
            got = client.post(f"/api/sessions/{session['id']}/links", json={"minutes": minutes}, headers=key)
            assert (got.status_code, got.json()) == (422, {"error": "minutes: Input should be a valid integer"})
        assert client.get(f"/api/sessions/{session['id']}/links", headers=key).json() == []
        client.delete(f"/api/sessions/{session['id']}", headers=key)


def test_a_prompt_that_grows_beyond_its_limit_when_it_is_read_is_refused_at_every_door(tmp_path: Path) -> None:
    prompt = "a red ball " + chr(0xFDFA) * 300  # each is read as 18 characters
    why = f"a prompt that is read as {11 + 18 * 300} characters is too long; shorten it to 4000"
    with client_of(studio(tmp_path, local=True, GRACE="600"), base="http://localhost") as client:
        assert client.get("/api/models/pocket/reading", params={"prompt": prompt}).json()["why"] == why
        refused = client.post("/api/sessions", json={"prompt": prompt})
        assert (refused.status_code, refused.json()) == (400, {"error": f"prompt: {why}"})
        session = client.post("/api/sessions", json={"prompt": "a red ball"}).json()
        path, key = f"/api/sessions/{session['id']}/control", {"x-longtake-key": session["key"]}
        for kind in ("prompt", "prepare"):
            refused = client.post(path, json={"id": 1, "type": kind, "text": prompt}, headers=key)
            assert (refused.status_code, refused.json()) == (400, {"error": f"text: {why}"})
