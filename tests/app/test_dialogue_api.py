"""Command a live dialogue over HTTP and the socket of its sound."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import yaml
from avatar_client import begin, tone, wav
from studio_server import serving
from websockets.sync.client import connect

SPEAKERS = [{"name": "Ada"}, {"name": "Guest", "face": "hair=curly"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("dialogue"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


def test_two_faces_speak_over_http_and_the_socket_and_their_take_holds_what_was_heard(server: str) -> None:
    session = begin(server, speakers=SPEAKERS)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}
    with connect(f"{url}/audio".replace("http", "ws"), additional_headers=key) as socket:
        socket.send(json.dumps({"type": "start", "utterance": "g", "rate": 16000, "speaker": "guest"}))
        socket.send(wav(tone(0.6))[44:])
        socket.send(json.dumps({"type": "text", "text": "And I am a guest."}))
        socket.send(json.dumps({"type": "commit"}))
        got = httpx.post(f"{url}/audio?speaker=Ada&utterance=a", content=wav(tone(0.5)), headers=key)
        assert got.status_code == 202, got.text
        ended: list[tuple[str, str]] = []
        while len(ended) < 2:
            event = json.loads(socket.recv(timeout=20))
            if event["type"] == "utterance.ended":
                ended.append((event["speaker"], event["utterance"]))
    assert ended == [("Guest", "g"), ("Ada", "a")]
    got = httpx.post(f"{url}/audio?speaker=bo", content=wav(tone(0.1)), headers=key)
    assert (got.status_code, got.json()["error"]) == (404, "no speaker is called 'bo'; there are Ada, Guest")
    httpx.delete(url, headers=key)
    take = yaml.safe_load(httpx.get(f"{server}/api/takes/{session['take']}").text)
    assert [speaker["name"] for speaker in take["speakers"]] == ["Ada", "Guest"]
    with wave.open(io.BytesIO(httpx.get(f"{server}/api/takes/{session['take']}/sound").content)) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    assert np.count_nonzero(heard) == pytest.approx(1.1 * file.getframerate(), rel=0.05)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"speakers": SPEAKERS[:1]}, "speakers"),
        ({"speakers": SPEAKERS, "face": "ada"}, "face and portrait are of one avatar"),
        ({"speakers": [{"name": "Ada"}, {"name": "ada"}]}, "ada is named twice"),
        ({"speakers": [{"name": "Nobody"}, {"name": "ada"}]}, "nobody"),
        ({"layout": "cut"}, "layout"),
    ],
)
def test_a_dialogue_that_cannot_be_is_refused_in_one_line(server: str, asked: dict[str, object], why: str) -> None:
    got = httpx.post(f"{server}/api/sessions", json={"model": "pocket-avatar", **asked})
    assert got.status_code in (400, 404, 422)
    assert why in got.json()["error"]
    assert "\n" not in got.json()["error"]
