"""Command an avatar over HTTP: sounds, texts, faces and takes, and requests that are refused."""

from __future__ import annotations

import base64
import io
import shutil
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from avatar_client import begin, encoded, tone, wav
from studio_server import serving
from test_hostile import png_of

from models.driving_signal import RATE
from streaming.speech.detectors import best_detector

GHOST = "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("avatar"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


@pytest.fixture
def avatar(server: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Give the address of a session and the headers that control it."""
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    yield url, key
    httpx.delete(url, headers=key)


@pytest.mark.parametrize("body", ["8 kHz", "96 kHz stereo", "ogg", "mp3", "cut off"])
def test_sound_files_of_every_kind_are_spoken(avatar: tuple[str, dict[str, str]], body: str) -> None:
    url, key = avatar
    bodies = {
        "8 kHz": lambda: wav(tone(1, 8000), 8000),
        "96 kHz stereo": lambda: wav(tone(1, 96_000), 96_000, 2),
        "ogg": lambda: encoded("ogg", "libopus"),
        "mp3": lambda: encoded("mp3", "libmp3lame"),
        "cut off": lambda: wav(tone(2))[: 44 + 2 * RATE],
    }
    got = httpx.post(f"{url}/audio", content=bodies[body](), headers=key)
    assert got.status_code == 202, got.text
    assert got.json()["seconds"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("policy", "detector"), [(None, None), ("duck", "energy"), ("ignore", "silero")])
def test_a_session_listens_as_it_was_asked_to(server: str, policy: str | None, detector: str | None) -> None:
    asked = {name: value for name, value in (("barge_in", policy), ("detector", detector)) if value is not None}
    session = begin(server, **asked)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    try:
        status = httpx.get(url).json()
        assert (status["barge_in"], status["detector"]) == (policy or "stop", detector or best_detector())
        command = {"id": 1, "type": "barge_in", "policy": "duck"}
        assert httpx.post(f"{url}/control", json=command, headers=key).status_code == 202
        assert httpx.get(url).json()["barge_in"] == "duck"
    finally:
        httpx.delete(url, headers=key)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"model": "pocket-avatar", "barge_in": "shout"}, "barge_in"),
        ({"model": "pocket-avatar", "detector": "ears"}, "detector"),
        ({"model": "pocket", "barge_in": "duck"}, "for an avatar"),
        ({"model": "pocket", "detector": "energy"}, "for an avatar"),
        ({"model": "pocket", "background": "#00b140"}, "background is for an avatar"),
        ({"model": "pocket-avatar", "background": "green"}, "background"),
        ({"model": "pocket-avatar", "look_ahead": "smooth"}, "look_ahead"),
    ],
)
def test_choices_that_an_avatar_or_another_model_cannot_have_are_refused(
    server: str, asked: dict[str, str], why: str
) -> None:
    got = httpx.post(f"{server}/api/sessions", json=asked)
    assert got.status_code in (400, 422)
    assert why in got.json()["error"]


def test_stills_have_alpha_where_it_is_asked_for(server: str, avatar: tuple[str, dict[str, str]]) -> None:
    def channels(got: httpx.Response) -> int:
        assert (got.status_code, got.headers["content-type"]) == (200, "image/png"), got.text
        return cv2.imdecode(np.frombuffer(got.content, np.uint8), cv2.IMREAD_UNCHANGED).shape[2]

    url, key = avatar
    assert httpx.get(f"{url}/last.png").status_code == 403
    deadline = time.monotonic() + 60
    while (first := httpx.get(f"{url}/last.png", headers=key)).status_code == 409 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert channels(first) == 3
    assert channels(httpx.get(f"{url}/last.png?alpha=true", headers=key)) == 4
    assert channels(httpx.get(f"{server}/api/faces/ada")) == 3
    face = httpx.get(f"{server}/api/faces/ada?alpha=true")
    assert channels(face) == 4
    alpha = cv2.imdecode(np.frombuffer(face.content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
    assert (alpha[4, 4], alpha[64, 64]) == (0, 255)


BAD = {
    "empty": (b"", "the sound is empty"),
    "text": (b"hello there" * 99, "not a sound file"),
    "a header": (wav(tone(1))[:30], "not a sound file"),
    "no samples": (wav(np.zeros(0)), "the sound is empty"),
    "a picture": (bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1]), "not a sound file"),
    "a playlist": (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "not a sound file"),
    "a list of files": (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a sound file"),
    "an hour": (wav(np.zeros(8000 * 660), 8000), "longer than 600 seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_body_that_is_no_sound_is_refused_with_one_line(avatar: tuple[str, dict[str, str]], name: str) -> None:
    url, key = avatar
    body, why = BAD[name]
    got = httpx.post(f"{url}/audio", content=body, headers=key, timeout=60)
    assert got.status_code == 400
    assert why in got.json()["error"]
    assert "\n" not in got.json()["error"]
    assert "/" not in got.json()["error"]
    assert httpx.get(url).json()["phase"] in ("live", "warming")


def test_sounds_texts_and_interruptions_need_the_key_and_have_a_size_limit(
    server: str, avatar: tuple[str, dict[str, str]]
) -> None:
    url, key = avatar
    assert httpx.post(f"{url}/audio", content=bytes(17 << 20), headers=key).status_code == 413
    for path, body in (("audio", wav(tone(1))), ("say", b'{"text": "x"}'), ("interrupt", b"")):
        headers = {"content-type": "application/json"} if path == "say" else {}
        assert httpx.post(f"{url}/{path}", content=body, headers=headers).status_code == 403
        ghost = httpx.post(f"{server}/api/sessions/{GHOST}/{path}", content=body, headers=key | headers)
        assert ghost.status_code == 404
    for body in (b"", b"{}", b'{"text": ""}', b'{"text": 5}', b'{"text": "' + b"x" * 2001 + b'"}'):
        got = httpx.post(f"{url}/say", content=body, headers=key | {"content-type": "application/json"})
        assert got.status_code == 422


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_a_text_is_spoken(avatar: tuple[str, dict[str, str]]) -> None:
    url, key = avatar
    got = httpx.post(f"{url}/say", json={"text": "Good evening, how are you?"}, headers=key, timeout=20)
    assert got.status_code == 202, got.text
    assert 0.5 < got.json()["seconds"] < 5
    assert httpx.post(f"{url}/say", json={"text": "..."}, headers=key, timeout=20).status_code == 400
    for text in (b'{"text": "a\\u0000b"}', b'{"text": "a\\ud800b"}'):  # characters that no program takes as an argument
        got = httpx.post(f"{url}/say", content=text, headers=key | {"content-type": "application/json"})
        assert got.status_code in (400, 422), got.text
        assert "\n" not in got.json()["error"]


def test_a_sound_whose_upload_is_interrupted_is_refused_with_409(avatar: tuple[str, dict[str, str]]) -> None:
    url, key = avatar
    sound = wav(tone(2))

    def slowly() -> Iterator[bytes]:
        yield sound[:1000]
        time.sleep(0.3)
        assert httpx.post(f"{url}/interrupt", headers=key).status_code == 202
        yield sound[1000:]

    late = httpx.post(f"{url}/audio", content=slowly(), headers=key, timeout=30)
    assert (late.status_code, late.json()["error"]) == (409, "the avatar was interrupted before this sound was read")
    assert httpx.post(f"{url}/audio", content=sound, headers=key, timeout=30).status_code == 202


def test_sounds_are_spoken_in_the_order_of_their_requests_not_of_their_ends(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    long, short = wav(tone(2, hertz=300)), wav(tone(0.5, hertz=900))
    order: list[str] = []

    def slowly() -> Iterator[bytes]:
        yield long[:1000]
        time.sleep(1)
        yield long[1000:]

    def ask(name: str, content: Any) -> None:
        assert httpx.post(f"{url}/audio", content=content, headers=key, timeout=30).status_code == 202
        order.append(name)

    first = threading.Thread(target=ask, args=("long", slowly()))
    first.start()
    time.sleep(0.4)
    ask("short", short)
    first.join()
    assert order == ["long", "short"]
    deadline = time.monotonic() + 30
    while httpx.get(url).json()["to_say_s"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    httpx.delete(url, headers=key)
    got = httpx.get(f"{server}/api/takes/{session['take']}/sound")
    with wave.open(io.BytesIO(got.content)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    pitch = [np.abs(np.fft.rfft(b)).argmax() * 10 for b in samples[: len(samples) // 4800 * 4800].reshape(-1, 4800)]
    assert pitch.index(300) < pitch.index(900)


def test_a_request_after_an_interruption_does_not_wait_for_earlier_requests(
    avatar: tuple[str, dict[str, str]],
) -> None:
    url, key = avatar
    sound = wav(tone(1))

    def slowly() -> Iterator[bytes]:
        yield sound[:1000]
        time.sleep(0.3)
        assert httpx.post(f"{url}/interrupt", headers=key).status_code == 202
        began = time.monotonic()
        assert httpx.post(f"{url}/audio", content=sound, headers=key, timeout=5).status_code == 202
        assert time.monotonic() - began < 3
        yield sound[1000:]

    assert httpx.post(f"{url}/audio", content=slowly(), headers=key, timeout=30).status_code == 409


def test_a_download_of_a_growing_or_interrupted_sound_is_a_whole_file(
    server: str, avatar: tuple[str, dict[str, str]]
) -> None:
    url, key = avatar
    httpx.post(f"{url}/audio", content=wav(tone(20)), headers=key, timeout=30)
    deadline = time.monotonic() + 30
    while httpx.get(url).json()["latent"] < 15:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    take = httpx.get(url).json()["timeline"]["take"]
    for number in range(30):
        got = httpx.get(f"{server}/api/takes/{take}/sound")  # raises if the body is shorter than its header says
        with wave.open(io.BytesIO(got.content)) as file:
            assert len(got.content) == 44 + 2 * file.getnframes()
        if number == 20:
            httpx.post(f"{url}/interrupt", headers=key)


def test_a_session_without_an_avatar_refuses_to_speak(server: str) -> None:
    session = httpx.post(f"{server}/api/sessions", json={"prompt": "a red ball bounces"}).json()
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    assert not session["sound"]
    got = httpx.post(f"{url}/interrupt", headers=key)
    assert (got.status_code, got.json()["error"]) == (409, "only an avatar speaks; this session is none")
    httpx.delete(url, headers=key)


def test_an_avatar_takes_a_face_of_the_gallery_a_designed_face_or_a_portrait(server: str) -> None:
    faces = httpx.get(f"{server}/api/faces").json()
    assert "ada" in faces["gallery"]
    assert faces["attributes"]["hair"][0] == "short"
    picture = httpx.get(f"{server}/api/faces/hair=bob,skin=deep")
    assert picture.headers["content-type"] == "image/png"
    assert cv2.imdecode(np.frombuffer(picture.content, np.uint8), cv2.IMREAD_COLOR).shape == (128, 128, 3)
    for look in ("nobody", "hair=purple", "..%2f..%2fetc", "x" * 3000):
        got = httpx.get(f"{server}/api/faces/{look}")
        assert got.status_code == 404
        assert "Traceback" not in got.text
    for how in ({"face": "bo"}, {"face": "hair=bob"}, {"portrait": base64.b64encode(picture.content).decode()}, {}):
        session = begin(server, **how)
        assert session["sound"]
        httpx.delete(f"{server}/api/sessions/{session['id']}", headers={"x-longtake-key": session["key"]})
    for how, why in (
        ({"face": "nobody"}, "no face is called"),
        ({"face": "hair=green"}, "cannot be drawn"),
        ({"portrait": base64.b64encode(b"no picture").decode()}, "the portrait: not a picture"),
        ({"face": "bo", "portrait": base64.b64encode(picture.content).decode()}, "exclude each other"),
        ({"portrait": "%%%"}, "the portrait: not a picture"),
        ({"portrait": base64.b64encode(png_of(40_000, 40_000)).decode()}, "more than 64 megapixels"),
    ):
        got = httpx.post(f"{server}/api/sessions", json={"model": "pocket-avatar", **how})
        assert got.status_code == 400
        assert why in got.json()["error"]


def test_the_take_of_an_avatar_keeps_portrait_and_sound_and_cannot_be_continued(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    httpx.post(f"{url}/audio", content=wav(tone(1)), headers=key)
    until_latent = time.monotonic() + 15
    while httpx.get(url).json()["latent"] < 15:
        assert time.monotonic() < until_latent
        time.sleep(0.1)
    httpx.delete(url, headers=key)
    take = f"{server}/api/takes/{session['take']}"
    text = httpx.get(take).text
    assert f"sound: {session['take']}.wav" in text
    sound, portrait = httpx.get(f"{take}/sound"), httpx.get(f"{take}/reference")
    with wave.open(io.BytesIO(sound.content)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert abs(np.count_nonzero(np.abs(samples) > 200) / file.getframerate() - 1) < 0.1
    assert cv2.imdecode(np.frombuffer(portrait.content, np.uint8), cv2.IMREAD_COLOR).shape == (32, 32, 3)
    got = httpx.post(f"{take}/continue", json={})
    assert got.status_code == 409
    assert Path(text.split("sound: ")[1].splitlines()[0]).name == f"{session['take']}.wav"
