"""Pictures and films are uploaded for a session's take, used by its cues, and deleted with the session if unused."""

from __future__ import annotations

import io
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from films import film
from PIL import Image
from tiny_server import serving_tiny_model, session_of, status_of

from streaming.take import uploaded_files
from streaming.take.take_file import parse


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def server(data: Path) -> Iterator[str]:
    with serving_tiny_model(data) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server) as session:
        yield session


def picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(out, kind)
    return out.getvalue()


def mp4(folder: Path) -> bytes:
    film(folder / "a.mp4", frames=20, fps=16)
    return (folder / "a.mp4").read_bytes()


def files(server: str, session: dict[str, Any], method: str, name: str | None = None, body: bytes | None = None) -> Any:
    url, key = f"{server}/api/sessions/{session['id']}/files", {"x-longtake-key": session["key"]}
    params = None if name is None else {"name": name}
    return httpx.request(method, url, params=params, content=body, headers=key, timeout=30)


def left(data: Path) -> list[str]:
    """Return the names of uploaded files and of partial ones that lie in the folder of takes."""
    takes = data / "takes"
    return sorted(
        p.relative_to(takes).as_posix() for p in takes.rglob("*") if ".files" in str(p) or ".partial" in str(p)
    )


def test_a_take_uses_an_uploaded_picture_and_film_which_stay_beside_it(
    server: str, session: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    image = files(server, session, "POST", "../../my picture.exe", picture()).json()
    clip = files(server, session, "POST", "clip", mp4(tmp_path)).json()
    unused = files(server, session, "POST", "mask.png", picture("JPEG")).json()
    folder = f"{session['take']}.files"
    assert image == {"name": f"{folder}/my-picture.png", "kind": "picture", "bytes": len(picture()), "notes": []}
    assert (clip["name"], clip["kind"], unused["name"]) == (f"{folder}/clip.mp4", "film", f"{folder}/mask.jpg")
    assert stat.S_IMODE((data / "takes" / image["name"]).stat().st_mode) == 0o600
    assert files(server, session, "GET").json() == [image, clip, unused]

    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    for number, command in enumerate(
        ({"type": "start", "file": image["name"]}, {"type": "source", "source": clip["name"], "strength": 0.5}), 1
    ):
        got = httpx.post(f"{url}/control", json={"id": number, **command}, headers=key)
        assert got.status_code == 202, got.text
    end = time.monotonic() + 30
    while len(status_of(server, session)["timeline"]["cues"]) < 3:
        assert time.monotonic() < end
    assert files(server, session, "DELETE", clip["name"]).status_code == 409
    assert httpx.delete(url, headers=key).status_code == 204
    assert left(data) == [folder, image["name"], clip["name"]] or left(data) == [folder, clip["name"], image["name"]]

    script = parse(httpx.get(f"{server}/api/takes/{session['take']}").text, "take.yaml")
    assert {name for cue in script.cues for name in cue.files()} == {image["name"], clip["name"]}
    address = f"{server}/api/takes/{session['take']}/files"
    assert httpx.get(address, params={"name": image["name"]}).content == picture()
    for other in (f"{session['take']}.yaml", "../speeds.json", unused["name"]):
        assert httpx.get(address, params={"name": other}).status_code == 404


def test_a_command_names_only_files_of_its_own_session_and_as_the_upload_named_them(tmp_path: Path) -> None:
    with serving_tiny_model(tmp_path) as server, session_of(server) as mine, session_of(server) as other:
        name = files(server, mine, "POST", "mine.png", picture()).json()["name"]
        link = tmp_path / "takes" / "link.png"
        link.symlink_to(tmp_path / "takes" / name)

        def start(session: dict[str, Any], file: str) -> httpx.Response:
            url, key = f"{server}/api/sessions/{session['id']}/control", {"x-longtake-key": session["key"]}
            return httpx.post(url, json={"id": 1, "type": "start", "file": file}, headers=key)

        strange = [(other, name), (mine, f"./{name}"), (mine, name.replace("/", "//")), (mine, link.name)]
        for session, file in strange:
            got = start(session, file)
            assert (got.status_code, "no such file of this session" in got.text) == (400, True), (file, got.text)
        assert start(mine, name).status_code == 202


def hostile(tmp_path: Path) -> list[tuple[int, str, bytes]]:
    """Return what is refused: the status, the label and the bytes."""
    png, jpeg, clip = picture(), picture("JPEG"), mp4(tmp_path)
    strangers = [
        b"", b"\0" * 5000, b"hello", b"<html></html>", b"<svg xmlns='x'/>", b"%PDF-1.7", b"#!/bin/sh\nrm -rf /",
        b"\x7fELF" + b"\0" * 60, b"MZ" + b"\0" * 60, b"PK\3\4" + b"\0" * 60, b"\x1f\x8b" + b"\0" * 60, b"GGUF",
        b"#EXTM3U\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"ID3" + b"\0" * 60, b"fLaC",
        b"RIFF\0\0\0\0WAVE", b"OggS" + b"\0" * 60, b"P6 9 9 255\n", b"BM" + b"\0" * 60,
        b'{"format": "longtake camera 1"}\n',
    ]  # fmt: skip
    damaged = [
        png[:40], png[:100], jpeg[:200], clip[: len(clip) // 3], b"GIF89a", b"RIFF\xff\xff\0\0WEBPVP8 ",
        b"RIFF\0\0\0\0AVI LIST",
        (200).to_bytes(8, "little") + b'{"a": {"dtype": "F32"}}',
        b"\x1a\x45\xdf\xa3" + b"\xff" * 99, b"\0\0\1\xba" + b"\0" * 99, b"\0\0\0\x18ftypmp42" + b"\xff" * 99,
    ]  # fmt: skip
    return [
        *((415, f"../..//{i}\n\u202e.png", body) for i, body in enumerate(strangers)),
        *((422, f"{i}.png", body) for i, body in enumerate(damaged)),
    ]


def test_hostile_files_are_refused_in_one_line_and_leave_nothing_behind(
    server: str, session: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    before = left(data)
    cases = hostile(tmp_path)
    assert len(cases) >= 30
    for status, label, body in cases:
        got = files(server, session, "POST", label, body)
        assert got.status_code == status, (label, body[:40], got.text)
        error = got.json()["error"]
        assert error.isprintable(), error
        assert len(error) < 400, error
        assert "/takes" not in error, error
    assert files(server, session, "GET").json() == []
    assert left(data) == before


def test_files_and_bytes_of_a_session_are_bounded(
    server: str, session: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, body = left(data), picture()
    monkeypatch.setattr(uploaded_files, "MOST_FILES", 2)
    monkeypatch.setattr(uploaded_files, "MOST_TOTAL", 3 * len(body) // 2)
    first = files(server, session, "POST", "a", body).json()
    full = files(server, session, "POST", "b", body)
    assert full.status_code == 413
    assert "together" in full.json()["error"]
    assert files(server, session, "DELETE", first["name"]).status_code == 204
    assert files(server, session, "DELETE", first["name"]).status_code == 404
    monkeypatch.setattr(uploaded_files, "MOST_TOTAL", 9 * len(body))
    names = [files(server, session, "POST", "a", body).json()["name"] for _ in range(2)]
    assert len(set(names)) == 2
    assert files(server, session, "POST", "a", body).status_code == 413
    monkeypatch.setattr(uploaded_files, "MOST_BYTES", 10)
    for name in names:
        files(server, session, "DELETE", name)
    large = files(server, session, "POST", "c", body)
    assert large.status_code == 413
    assert "at most" in large.json()["error"]
    assert left(data) == sorted([*before, f"{session['take']}.files"])


def test_only_the_holder_of_the_key_sends_files(server: str, session: dict[str, Any]) -> None:
    assert files(server, session | {"key": "x"}, "POST", "a.png", picture()).status_code == 403
    assert files(server, session | {"id": "0" * 32}, "POST", "a.png", picture()).status_code == 404
    assert files(server, session, "POST", None, picture()).status_code == 422
