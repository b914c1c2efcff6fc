"""Run the example of the client for agents, and check that it needs none of the packages that draw."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from avatar_client import Viewer, begin
from studio_server import serving
from tiny_server import serving_tiny_avatar

from app.client.avatar_session import (
    AvatarSession,
    Event,
    Heard,
    LongtakeError,
    Spoken,
    avatar_session,
    avatar_sound,
)

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_avatar(tmp_path_factory.mktemp("agents")) as address:
        yield address


def test_the_example_greets_whoever_watches_and_answers_when_it_is_interrupted(server: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "app.client.avatar_session" in block)
    assert len(example.splitlines()) <= 60
    command = [sys.executable, "-c", example, server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as agent:
        assert agent.stdout is not None
        page = agent.stdout.readline().strip().removeprefix("watch it: ")
        said = asyncio.run(watching(page.replace("/watch/", "/api/sessions/"), agent.stdout.read))
    assert agent.returncode == 0, page + said
    assert "now heard: Good evening." in said
    heard = re.search(r"interrupted story after (\d+\.\d) s: Once", said)
    assert heard is not None, said
    assert 2 <= float(heard[1]) < 6
    assert "the reply ended: complete, Of course." in said


async def watching(url: str, work: Callable[[], str]) -> str:
    """Watch a session while something else is done, and return what that gave."""
    viewer = Viewer()
    await viewer.join(url)
    done = await asyncio.to_thread(work)
    await viewer.leave()
    return done


class Starting(BaseHTTPRequestHandler):
    """Answer as a server that is starting does, each time with the next of its server's answers."""

    def do_POST(self) -> None:
        status, error, retry = self.server.answers.pop(0)  # type: ignore[attr-defined]
        body = error if isinstance(error, bytes) else json.dumps({"error": error}).encode()
        self.send_response(status)
        if retry is not None:
            self.send_header("Retry-After", str(retry))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(*answers: tuple[int, str | bytes, int | str | None]) -> Iterator[str]:
    """Serve these answers, each once: status, error (bytes: the body itself) and when to ask again."""
    with HTTPServer(("127.0.0.1", 0), Starting) as server:
        server.answers = list(answers)  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        assert server.answers == []  # type: ignore[attr-defined]


@pytest.mark.asyncio
async def test_a_server_that_is_starting_is_asked_again_and_what_it_says_is_told() -> None:
    said: list[str] = []
    with (
        answering(
            (503, "Longtake is starting", 0), (429, "too many places in line", 0), (400, "there is no such face", 0)
        ) as address,
        pytest.raises(LongtakeError, match="there is no such face"),
    ):
        async with avatar_session(address, on_wait=said.append):
            pass
    assert said == ["Longtake is starting", "too many places in line"]


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [200, 302, 500])
async def test_a_proxy_that_answers_for_the_server_in_words_of_its_own_is_waited_for_or_told_of(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.avatar_session.USUAL_WAIT", 0)
    page, said = b"<html>\n<h1>Sorry</h1>\n</html>", list[str]()
    busy = (503, page, None), (429, page, "Wed, 21 Oct 2026 07:28:00 GMT"), (503, b"[]", "0")
    with (
        answering(*busy, (status, page, None)) as address,
        pytest.raises(LongtakeError, match=rf"/api/sessions was answered with {status}: <html> <h1>Sorry</h1> </html>"),
    ):
        async with avatar_session(address, on_wait=said.append):
            pass
    assert said == ["503 Service Unavailable", "429 Too Many Requests", "503 Service Unavailable"]


@pytest.mark.asyncio
async def test_waiting_for_a_session_ends_with_the_reason() -> None:
    with (
        answering((503, "Longtake is starting", 30)) as address,
        pytest.raises(LongtakeError, match=r"no session was started within 3 s: Longtake is starting"),
    ):
        async with avatar_session(address, timeout=3):
            pass


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


WORDS = [f"w{n}" for n in range(24)]  # of 6.9 seconds


async def slowly(seconds: float, *, fails: bool = False) -> AsyncIterator[bytes]:
    """Make a voice a tenth of a second at a time, as fast as it is heard; if it `fails`, it does so at its end."""
    tenth = struct.pack("<60h", *[4000] * 30, *[-4000] * 30) * 40
    for _ in range(round(10 * seconds)):
        yield tenth
        await asyncio.sleep(0.1)
    if fails:
        raise ConnectionResetError("the synthesiser hung up")


async def told(avatar: AvatarSession, kind: str, utterance: str | None) -> Event:
    """Return the next event of a kind about an utterance."""
    async for event in avatar.events():
        if event["type"] == kind and event.get("utterance") == utterance:
            return event
    raise AssertionError("the session has ended")


@pytest.mark.asyncio
async def test_an_interruption_ends_what_is_sent_and_the_reply_goes_straight_in(server: str) -> None:
    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        text = " ".join(WORDS)
        story = asyncio.create_task(avatar.speak(slowly(30), utterance="story", text=text))
        waits = asyncio.create_task(avatar.speak(slowly(30), utterance="waits"))
        await told(avatar, "utterance.spoken", "story")
        (heard,) = await avatar.interrupt()
        at = time.monotonic()
        assert await story == Spoken("story", heard)
        assert await waits == Spoken("waits", Heard("waits", 0, 0.0, "", "interrupted"))
        assert (heard.why, heard.seconds > 0, len(heard.text.split()) < 12) == ("interrupted", True, True)
        reply = await avatar.speak(whole(b"\1\0" * 24_000))
        assert time.monotonic() - at < 15
        assert reply.heard is None
        assert (await avatar.heard(reply.utterance)).why == "complete"


@pytest.mark.asyncio
async def test_what_replaces_does_not_wait_for_what_is_sent(server: str) -> None:
    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        story = asyncio.create_task(avatar.speak(slowly(30), utterance="story", text="Once upon a time."))
        await told(avatar, "utterance.started", "story")
        at = time.monotonic()
        await avatar.speak(whole(b"\1\0" * 24_000), utterance="news", queue="replace")
        assert time.monotonic() - at < 15
        ended = (await story).heard
        assert ended is not None
        assert ended.why in ("cancelled", "replaced")
        assert (await avatar.heard("news")).why == "complete"


@pytest.mark.asyncio
async def test_a_refusal_is_raised_by_the_call_that_caused_it(server: str) -> None:
    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        with pytest.raises(LongtakeError, match="refused flat: rate: Input should be 16000, 24000 or 48000"):
            await avatar.speak(slowly(30), utterance="flat", rate=22_050)  # type: ignore[arg-type]
        await avatar.speak(whole(bytes(480_000)), utterance="one")
        with pytest.raises(LongtakeError, match="named one is being spoken or waits"):
            await avatar.speak(slowly(30), utterance="one")
        with pytest.raises(LongtakeError, match=r"refused long: text: .*at most 2000"):
            await avatar.speak(slowly(30), utterance="long", text="x" * 2001)
        with pytest.raises(LongtakeError, match="1 to 64 letters"):
            await avatar.speak(slowly(30), utterance="two words")
        with pytest.raises(LongtakeError, match="404"):
            await avatar.cancel("nobody")
        assert await avatar.cancel("one") == Heard("one", 0, 0.0, "", "cancelled")  # untouched until then


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_voice_that_breaks_off_is_cancelled_and_claims_no_words_that_were_not_sent(
    server: str, how: str
) -> None:
    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        voice = slowly(30) if how == "cancelled" else slowly(3, fails=True)
        speaking = asyncio.create_task(avatar.speak(voice, utterance="story", text=" ".join(WORDS)))
        await told(avatar, "utterance.spoken", "story")
        if how == "cancelled":
            speaking.cancel()
        with pytest.raises(asyncio.CancelledError if how == "cancelled" else ConnectionResetError):
            await speaking
        heard = await avatar.heard("story")
        assert heard.why == "cancelled"
        assert len(heard.text.split()) <= 1 + 2.5 * heard.seconds


@pytest.mark.asyncio
async def test_what_waits_is_cleared_and_texts_may_stand_among_the_samples(server: str) -> None:
    async def sentences() -> AsyncIterator[bytes | str]:
        for sentence in ("Good evening.", "How are you?"):
            yield sentence
            yield b"\1\0" * 24_000

    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        await avatar.speak(sentences(), utterance="greeting")
        for name in ("w1", "w2"):
            await avatar.speak(whole(bytes(96_000)), utterance=name)
        await told(avatar, "utterance.started", "greeting")
        assert await avatar.clear() == ["w1", "w2"]
        assert await avatar.heard("greeting") == Heard(
            "greeting", 48_000, 2.0, "Good evening. How are you?", "complete"
        )
        assert (await avatar.heard("w1")).why == "cleared"


@pytest.mark.asyncio
async def test_a_session_that_was_started_elsewhere_is_joined_with_the_same_methods(server: str) -> None:
    session = await asyncio.to_thread(begin, server)
    with pytest.raises(LongtakeError, match=r"cannot be reached: .*key"):
        async with avatar_sound(server, session["id"], "wrong"):
            raise AssertionError("a wrong key is told at once")
    async with asyncio.timeout(200), avatar_sound(server, session["id"], session["key"]) as avatar:
        left = asyncio.create_task(avatar.speak(slowly(30), utterance="left", text=" ".join(WORDS)))
        await told(avatar, "utterance.spoken", "left")
        assert (await avatar.status())["phase"] == "live"
        async with avatar_sound(server, session["id"], session["key"]) as other:
            (heard,) = await other.interrupt()
        assert (await left).heard == heard  # an interruption from elsewhere ends it too
    async with asyncio.timeout(200), avatar_sound(server, session["id"], session["key"]) as avatar:
        goes_on = asyncio.create_task(avatar.speak(slowly(30)))
        await told(avatar, "avatar", None)
        await asyncio.to_thread(
            httpx.delete, avatar.page.replace("/watch/", "/api/sessions/"), headers={"x-longtake-key": session["key"]}
        )
        with pytest.raises(LongtakeError, match="has ended"):
            await goes_on


@pytest.mark.asyncio
async def test_an_agent_waits_for_somebody_who_watches(server: str) -> None:
    async with asyncio.timeout(200), avatar_session(server, face="ada") as avatar:
        watched = asyncio.create_task(avatar.watched())
        await asyncio.sleep(1)
        assert not watched.done()
        viewer = Viewer()
        await viewer.join(f"{server}/api/sessions/{avatar.id}")
        await watched
        await viewer.leave()


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
