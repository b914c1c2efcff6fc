"""`gradio_client` calls the studio's endpoints: start, prompt, avatar_say, render, models."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from studio_server import serving

TOKEN = "t" * 24
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("gradio"), token=TOKEN) as (address, _):
        yield address


@pytest.fixture(scope="module")
def client(server: str) -> Client:
    return Client(server, headers=HEADERS, verbose=False)


def status(server: str, session: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.get(f"{server}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    told: dict[str, Any] = answer.json()
    return told


def test_a_session_is_started_turned_and_rendered_to_a_film(server: str, client: Client) -> None:
    assert {"pocket", "pocket-avatar"} <= {model["name"] for model in client.predict(api_name="/models")}
    session = client.predict("a red ball bounces over the meadow by day", seed=5, api_name="/start")
    assert session["seed"] == 5
    said = client.predict(session["id"], session["key"], "a blue fish drifts right", cut=True, api_name="/prompt")
    assert said["accepted"] > 0
    for _ in range(600):
        timeline = status(server, session)["timeline"]
        if landed := [cue for cue in timeline["cues"] if cue.get("prompt") == "a blue fish drifts right"]:
            break
        time.sleep(0.05)
    assert landed[0]["cut"]
    httpx.delete(f"{server}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    job = client.submit(session["take"], api_name="/render")
    reports = list(job)
    assert reports[-1]["state"] == "done"
    assert reports[-1]["done"] == reports[-1]["chunks"] > 0
    film = httpx.get(f"{server}/{reports[-1]['film']}", headers=HEADERS).content
    with av.open(io.BytesIO(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 0


def test_an_avatar_speaks_a_text(client: Client) -> None:
    session = client.predict("ada", model="pocket-avatar", api_name="/start")
    said = client.predict(session["id"], session["key"], "Good evening.", api_name="/avatar_say")
    assert 0.5 < said["seconds"] < 3


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (("a red ball", "nothing", None, "/start"), "nothing"),
        (("a red ball", "pocket", -1, "/start"), "seed: "),
        (("", "pocket", None, "/start"), "prompt: "),
        (("0" * 32, "key", "a red ball", 1, False, "/prompt"), "no such session"),
        (("0" * 32, "key", "hello", "/avatar_say"), "no such session"),
        (("0" * 12, "/render"), "no such take"),
        (("../../etc/passwd", "/render"), "no such take"),
    ],
)
def test_a_call_that_is_refused_says_why_in_one_line(client: Client, call: tuple[Any, ...], why: str) -> None:
    *values, name = call
    with pytest.raises(AppError, match=why) as error:
        client.predict(*values, api_name=name)
    assert "\n" not in str(error.value)


def test_the_endpoints_are_documented_with_their_parameters(server: str) -> None:
    info = httpx.get(f"{server}/gradio_api/info", headers=HEADERS).json()["named_endpoints"]
    assert set(info) == {"/models", "/start", "/prompt", "/avatar_say", "/render"}
    for told in info.values():
        names = [parameter["parameter_name"] for parameter in told["parameters"]]
        assert all(f"{name}: " in told["description"] for name in names), told["description"]
