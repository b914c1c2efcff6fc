"""Run the example of the client for agents, and check that it needs none of the packages that draw."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from avatar_client import begin
from studio_server import serving

from app.client.avatar_session import LongtakeError, avatar_session

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("agents"), "--tiny", program="avatar_server.py") as (address, _):
        yield address


def test_the_example_streams_a_voice_and_is_told_what_was_heard_when_it_interrupts(server: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "app.client.avatar_session" in block)
    assert len(example.splitlines()) <= 60
    done = subprocess.run([sys.executable, "-c", example, server], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "now heard: Good evening." in done.stdout
    heard = re.search(r"interrupted story after (\d+\.\d) s: Once", done.stdout)
    assert heard is not None, done.stdout
    assert 2 <= float(heard[1]) < 6


class Starting(BaseHTTPRequestHandler):
    """Answer as a server that is starting, and then that it has no such face."""

    answers = ((503, "Longtake is starting"), (400, "there is no such face"))

    def do_POST(self) -> None:
        status, error = self.answers[self.server.answered]  # type: ignore[attr-defined]
        self.server.answered += 1  # type: ignore[attr-defined]
        body = json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_asked_again_although_it_has_no_line_to_stand_in() -> None:
    with HTTPServer(("127.0.0.1", 0), Starting) as server:
        server.answered = 0  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(LongtakeError, match="there is no such face"):
            async with avatar_session(f"http://127.0.0.1:{server.server_port}"):
                pass
        server.shutdown()
    assert server.answered == 2  # type: ignore[attr-defined]


VOICE = """
import struct, sys, time
text = sys.stdin.read()
if "broken" in text:
    sys.exit("the voice has a cold")
for _ in range(3):  # 300 ms of a square wave, as it is made
    sys.stdout.buffer.write(struct.pack("<20h", *[4000] * 10, *[-4000] * 10) * 110)
    sys.stdout.buffer.flush()
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve avatars whose voice is a program."""
    folder = tmp_path_factory.mktemp("voice")
    (folder / "voice.py").write_text(VOICE, encoding="utf-8")
    command = shlex.join([sys.executable, str(folder / "voice.py")])
    options = ("--tiny", "--voice", command, "--voice-rate", "22050")
    with serving(folder, *options, program="avatar_server.py") as (address, _):
        yield address


@pytest.mark.asyncio
async def test_a_program_is_the_voice_of_an_avatar_and_its_sentences_are_captions(speaker: str) -> None:
    assert httpx.get(f"{speaker}/api/faces").json()["voice"] == "command"
    captions: list[dict[str, Any]] = []
    async with avatar_session(speaker, face="ada") as avatar:
        name = await avatar.say("Good evening. How are you?")
        async for event in avatar.events():
            if event["type"] == "caption":
                captions.append(event)
            if event["type"] == "utterance.ended":
                break
        assert event["why"] == "complete"
        assert event["seconds"] == pytest.approx(0.3 + 0.25 + 0.3, abs=0.01)  # with a pause between the sentences
        assert [(c["utterance"], c["text"]) for c in captions] == [(name, "Good evening."), (name, "How are you?")]
        assert captions[1]["seconds"] == pytest.approx(0.55, abs=0.01)
        await avatar.speak(whole(b"\1\0" * 200_000), utterance="long")  # more bytes than one message may have
        async for event in avatar.events():
            if event["type"] == "utterance.spoken":
                break
        (heard,) = await avatar.interrupt()
        assert (heard.utterance, heard.seconds > 0) == ("long", True)
        gone = httpx.delete(
            f"{speaker}/api/sessions/{avatar.id}/utterances/long", headers={"x-longtake-key": avatar.key}
        )
        assert gone.status_code == 404  # it has ended, although its last frames are still on their way
        with pytest.raises(LongtakeError, match=r"502.*ended with exit code 1: the voice has a cold"):
            await avatar.say("This is broken.")
        with pytest.raises(LongtakeError, match=r"400.*language: this server speaks with the program"):
            await avatar.say("Good evening.", language="de")


async def whole(pcm: bytes) -> AsyncIterator[bytes]:
    """Yield a sound in one piece."""
    yield pcm


def test_the_client_loads_nothing_that_draws() -> None:
    heavy = "{'torch', 'numpy', 'av', 'gradio', 'fastapi'} & set(sys.modules)"
    code = f"import sys, app.client.avatar_session; print(sorted({heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="needs espeak-ng: apt-get install espeak-ng")
def test_a_text_is_spoken_in_the_language_and_at_the_speed_that_are_asked_for(server: str) -> None:
    session = begin(server)
    url, key = f"{server}/api/sessions/{session['id']}", {"x-longtake-key": session["key"]}

    def say(**how: object) -> httpx.Response:
        return httpx.post(
            f"{url}/say", json={"text": "Guten Abend, wie geht es Ihnen?", **how}, headers=key, timeout=30
        )

    usual, fast = say(language="de"), say(language="de", speed=300, voice="m3", pitch=20)
    assert (usual.status_code, fast.status_code) == (202, 202), (usual.text, fast.text)
    assert fast.json()["seconds"] < 0.8 * usual.json()["seconds"]
    for wrong in ({"language": "xx"}, {"language": "-v"}, {"voice": "nobody"}, {"speed": 20}, {"pitch": 100}):
        refused = say(**wrong)
        assert refused.status_code in (400, 422), wrong
        assert "\n" not in refused.json()["error"]
    httpx.delete(url, headers=key)
