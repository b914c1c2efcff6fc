"""What was just seen is saved; takes are named, pictured, branched anywhere and deleted; films become larger."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from films import film
from PIL import Image
from studio_app import client_of, studio
from tiny_server import serving_tiny_model, session_of, status_of

from streaming.take.take_file import parse

JOURNALS = Path(__file__).parents[1] / "streaming" / "take" / "journals"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with serving_tiny_model(data) as address:
        yield address


def until_latent(server: str, session: dict[str, Any], latent: int) -> None:
    deadline = time.monotonic() + 30
    while (status := status_of(server, session))["latent"] < latent or status["playhead"] < 3:
        assert time.monotonic() < deadline, status
        time.sleep(0.02)


def take_with(server: str, latents: int) -> str:
    """Draw a take of at least so many latents, end it, and return its id."""
    with session_of(server) as session:
        until_latent(server, session, latents)
    return str(session["take"])


def listed(server: str, take: str) -> dict[str, Any]:
    return next(t for t in httpx.get(f"{server}/api/takes").json() if t["id"] == take)


def pictures(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


def test_what_was_just_seen_is_saved_as_a_film_and_a_gif_while_the_session_goes_on(server: str) -> None:
    with session_of(server) as session:
        url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
        until_latent(server, session, 9)
        assert httpx.get(f"{url}/last.mp4").status_code == 403
        shown, deadline = list[av.VideoFrame](), time.monotonic() + 20
        while len(shown) < 16 and time.monotonic() < deadline:  # what was drawn is shown at the media rate
            got = httpx.get(f"{url}/last.mp4?seconds=1", headers=key, timeout=30)
            shown = pictures(got.content)
        assert (got.headers["content-type"], shown[0].width, len(shown)) == ("video/mp4", 256, 16)
        gif = httpx.get(f"{url}/last.gif", headers=key, timeout=30)
        with Image.open(io.BytesIO(gif.content)) as picture:
            assert (picture.format, picture.size) == ("GIF", (32, 32))
            assert 16 <= picture.n_frames <= 160  # type: ignore[attr-defined]
        before = status_of(server, session)["latent"]
        until_latent(server, session, before + 3)


def test_a_take_has_a_picture_and_the_name_that_a_person_gives_it_also_after_a_restart(tmp_path: Path) -> None:
    with serving_tiny_model(tmp_path) as server:
        take = take_with(server, 9)
        assert (listed(server, take)["name"], listed(server, take)["picture"]) == ("", True)
        assert httpx.patch(f"{server}/api/takes/{take}", json={"name": "  The  red\nball "}).status_code == 204
        assert httpx.patch(f"{server}/api/takes/{take}", json={"name": "x" * 81}).status_code == 422
    with serving_tiny_model(tmp_path) as server:
        assert listed(server, take)["name"] == "The red ball"
        got = httpx.get(f"{server}/api/takes/{take}/picture")
        with Image.open(io.BytesIO(got.content)) as picture:
            assert (got.headers["content-type"], picture.format, picture.size) == ("image/webp", "WEBP", (32, 32))
        httpx.patch(f"{server}/api/takes/{take}", json={"name": ""})
        assert listed(server, take)["name"] == ""


def test_many_who_look_at_the_shelf_at_once_get_the_picture_of_an_older_take(tmp_path: Path) -> None:
    take, takes = "acfe0b6c516a", tmp_path / "takes"
    takes.mkdir()
    shutil.copy(JOURNALS / "session_v1.jsonl", takes / f"{take}.jsonl")
    film(takes / f"{take}.mp4", frames=20, fps=16)
    with client_of(studio(tmp_path, local=True), base="http://localhost") as client, ThreadPoolExecutor(8) as many:
        for name in ("one", "two", "three"):
            got = list(many.map(client.get, [f"/api/takes/{take}/picture"] * 8))
            assert {(answer.status_code, answer.content[8:12]) for answer in got} == {(200, b"WEBP")}
            change = partial(client.patch, json={"name": name})
            assert {answer.status_code for answer in many.map(change, [f"/api/takes/{take}"] * 8)} == {204}
            (takes / f"{take}.webp").unlink()


def test_a_deleted_take_leaves_no_file_but_those_that_a_branch_needs(server: str, data: Path) -> None:
    take, folder = take_with(server, 9), data / "takes"
    uploads = folder / f"{take}.files"
    uploads.mkdir()
    for name in ("used.png", "unused.png"):
        (uploads / name).write_bytes(b"x")
    (folder / "abcdefabcdef.yaml").write_text(f"cues: [{{start: {take}.files/used.png}}]")
    for name in (f"{take}-1.mp4", f"{take}.mp4", f"{take}.render.json", f"{take}.name"):
        (folder / name).write_bytes(b"x")
    assert httpx.delete(f"{server}/api/takes/{take}").status_code == 204
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob(f"*{take}*") if p.is_file())
    assert [*left, *(p.name for p in uploads.iterdir())] == ["used.png"]
    assert httpx.get(f"{server}/api/takes/{take}").status_code == 404
    assert take not in [t["id"] for t in httpx.get(f"{server}/api/takes").json()]


def test_a_live_take_is_not_deleted(server: str) -> None:
    with session_of(server) as session:
        until_latent(server, session, 3)
        got = httpx.delete(f"{server}/api/takes/{session['take']}")
        assert (got.status_code, got.json()["error"]) == (
            409,
            "this take is live, or a live one began with it; end that first",
        )


def test_a_take_is_branched_at_any_of_its_scenes_and_goes_on_from_there(server: str) -> None:
    take = take_with(server, 15)
    got = httpx.post(f"{server}/api/takes/{take}/continue", json={"latent": 7}).json()
    try:
        until_latent(server, got, 12)
        branch = listed(server, got["take"])
    finally:
        httpx.delete(f"{server}/api/sessions/{got['id']}", headers={"x-longtake-key": got["key"]})
    assert (branch["parent"], branch["parent_seconds"]) == (f"{take}@6", round(21 / 16, 1))
    journals = [parse(httpx.get(f"{server}/api/takes/{name}").text, "t.yaml") for name in (take, got["take"])]
    assert journals[0].cues == journals[1].cues
    too_early = httpx.post(f"{server}/api/takes/{take}/continue", json={"latent": 2})
    assert (too_early.status_code, too_early.json()["error"].partition(";")[0]) == (
        409,
        "there is nothing before the first chunk",
    )


def test_a_film_is_sent_larger_and_as_a_gif_and_its_name_says_that_it_was_resampled(server: str, data: Path) -> None:
    take = take_with(server, 6)
    for path in ("film/2x", "gif"):
        assert httpx.get(f"{server}/api/takes/{take}/{path}").status_code == 404
    film(data / "takes" / f"{take}.mp4", frames=100, fps=16)
    got = httpx.get(f"{server}/api/takes/{take}/film/4x", timeout=60)
    shown = pictures(got.content)
    assert (shown[0].width, shown[0].height, len(shown)) == (128, 128, 100)
    assert f'filename="{take}-4x-resampled.mp4"' in got.headers["content-disposition"]
    assert httpx.get(f"{server}/api/takes/{take}/film/3x").status_code == 422
    gif = httpx.get(f"{server}/api/takes/{take}/gif", timeout=60)
    assert len(pictures(gif.content)) == 100
    (data / "takes" / f"{take}.mp4").write_bytes(b"damaged")
    assert httpx.get(f"{server}/api/takes/{take}/film/2x").status_code == 400
