"""HEAD is answered at every address as GET is, without a body, and costs no more than the headers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from films import film
from studio_app import client_of, studio
from tiny_server import serving_tiny_model

JOURNALS = Path(__file__).parents[1] / "streaming" / "take" / "journals"
TAKE = "acfe0b6c516a"
OF_THE_MOMENT = {"date", "content-security-policy"}  # this has a number that is used once


def with_take(data: Path) -> Path:
    """Write a take, a recording and a film; return the path of the film."""
    takes = data / "takes"
    takes.mkdir()
    shutil.copy(JOURNALS / "session_v1.jsonl", takes / f"{TAKE}.jsonl")
    for name in (f"{TAKE}.mp4", f"{TAKE}-1.mp4"):
        film(takes / name, frames=20, fps=16)
    return takes / f"{TAKE}.mp4"


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve a take and the pages on a real socket, and give one connection to it."""
    data = tmp_path_factory.mktemp("head")
    with_take(data)
    with serving_tiny_model(data, pages=True) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        f"/api/takes/{TAKE}/film", f"/api/takes/{TAKE}/recordings/1", f"/api/takes/{TAKE}/film/2x",
        f"/api/takes/{TAKE}/picture", f"/api/takes/{TAKE}", "/api/takes", "/api/takes/0123456789ab", "/v1/videos",
        "/v1/videos/0/content", "/api/nothing", "/api/login", "/healthz", "/page/studio.js", "/", "/login",
    ],
)  # fmt: skip
def test_head_has_the_status_and_headers_of_get_and_no_body(connection: httpx.Client, path: str) -> None:
    head, get = connection.head(path), connection.get(path)  # what came as a body would be read as the next answer
    told = [{n: v for n, v in a.headers.items() if n not in OF_THE_MOMENT} for a in (head, get)]
    assert (head.status_code, head.content, told[0]) == (get.status_code, b"", told[1])
    assert get.content


def test_head_with_a_range_is_answered_as_without(connection: httpx.Client) -> None:
    path, part = f"/api/takes/{TAKE}/film", {"range": "bytes=0-9"}
    assert connection.get(path, headers=part).status_code == 206
    whole = int(connection.head(path).headers["content-length"])
    answer = connection.head(path, headers=part)
    assert (answer.status_code, int(answer.headers["content-length"])) == (200, whole)


def test_where_get_is_answered_another_method_learns_of_head_too(connection: httpx.Client) -> None:
    refused = connection.put(f"/api/takes/{TAKE}/film")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    refused = connection.head(f"/api/takes/{TAKE}/continue")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_a_film_is_not_read_for_head(tmp_path: Path) -> None:
    os.truncate(with_take(tmp_path), 1 << 40)  # without using the disk; to read it would take minutes
    with client_of(studio(tmp_path, local=True), base="http://localhost") as client:
        assert int(client.head(f"/api/takes/{TAKE}/film").headers["content-length"]) == 1 << 40


def test_a_film_is_not_made_larger_for_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_take(tmp_path)
    made = []

    def enlarged(film: Path, scale: int) -> Iterator[bytes]:
        for part in range(1000):
            made.append(part)
            yield b"part"

    monkeypatch.setattr("app.routes.clips.enlarged", enlarged)
    with client_of(studio(tmp_path, local=True), base="http://localhost") as client:
        answer = client.head(f"/api/takes/{TAKE}/film/2x")
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(made) <= 2
