"""Voices that read a text: programs and servers that answer with raw sound, and what is said of those that fail."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from app.voice_choice import VoiceChoiceError, voice_of
from streaming.speech.fullband import RATE, Samples
from streaming.speech.voices.hibari_voice import HibariVoice
from streaming.speech.voices.text_voice import TextVoice, VoiceError, VoiceWish, VoiceWishError
from streaming.speech.voices.voice_program import ProgramVoice
from streaming.speech.voices.voice_server import ServerVoice

TEXT = 'It\'s $(touch /tmp/x); `id` & "done".'
ECHO = (
    "import sys, struct; text = sys.stdin.buffer.read();"
    "sys.stdout.buffer.write(b''.join(struct.pack('<h', 100 * b) for b in text.strip()))"
)


def program(code: str, rate: int = 48_000, patience: float = 30) -> ProgramVoice:
    return ProgramVoice([sys.executable, "-c", code], rate, patience)


async def whole(voice: TextVoice, text: str = TEXT, wish: VoiceWish | None = None) -> Samples:
    async with aclosing(voice.speak(text, wish or VoiceWish())) as sound:
        return np.concatenate([piece async for piece in sound])


@pytest.mark.asyncio
async def test_a_program_reads_the_text_from_its_input_and_no_shell_sees_it() -> None:
    assert (await whole(program(ECHO)) // 100).astype(np.uint8).tobytes() == TEXT.encode()


@pytest.mark.asyncio
@pytest.mark.parametrize("rate", [16_000, 22_050])
async def test_the_sound_of_a_program_has_its_length_at_any_rate(rate: int) -> None:
    code = f"import sys; sys.stdin.read(); sys.stdout.buffer.write(bytes(2 * {rate}))"
    assert len(await whole(program(code, rate))) == pytest.approx(RATE, abs=2)


@pytest.mark.asyncio
async def test_sound_is_given_while_a_program_still_speaks() -> None:
    code = "import sys; w = sys.stdout.buffer; w.write(bytes(960)); w.flush(); import time; time.sleep(60)"
    began = time.monotonic()
    async with aclosing(program(code).speak(TEXT, VoiceWish())) as sound:
        assert len(await anext(sound)) == 480
    assert time.monotonic() - began < 30  # it was not waited for, but ended


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('ok so far', file=sys.stderr); sys.exit('no such voice')", "exit code 1: no such voice$"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9$"),
        ("import sys; sys.stdout.buffer.write(b'RIFF' + bytes(40))", "writes a WAV file; have it write raw samples"),
        ("import time; time.sleep(60)", "gave no sound for 0.5 s$"),
        ("import os, time; os.close(1); time.sleep(60)", "gave no sound for 0.5 s$"),
    ],
    ids=["exit code", "signal", "WAV", "silence", "no end"],
)
async def test_what_went_wrong_with_a_program_is_said_in_one_line(code: str, said: str) -> None:
    slow = "sleep" in code
    with pytest.raises(VoiceError, match=said) as failed:
        await whole(program(code, patience=0.5 if slow else 30))
    assert "\n" not in str(failed.value)


@pytest.mark.asyncio
async def test_a_program_and_those_it_started_end_when_nobody_needs_their_sound(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, os; child = subprocess.Popen(['sleep', '100']);"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}');"
        "sys.stdout.buffer.write(bytes(960)); sys.stdout.flush(); child.wait()"
    )
    async with aclosing(program(code).speak(TEXT, VoiceWish())) as sound:
        await anext(sound)
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        assert all(_runs(pid) for pid in pids)
    async with asyncio.timeout(20):
        while any(_runs(pid) for pid in pids):
            await asyncio.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends programs with their parent on Linux")
def test_a_program_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    speaks = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)"
    server = (
        "import asyncio, sys; from streaming.speech.voices.voice_program import ProgramVoice;"
        "from streaming.speech.voices.text_voice import VoiceWish;"
        f"voice = ProgramVoice([sys.executable, '-c', {speaks!r}], 16000);"
        "asyncio.run(anext(voice.speak('hello', VoiceWish())))"
    )
    process = subprocess.Popen([sys.executable, "-c", server])
    try:
        _until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
    finally:
        process.kill()
        process.wait()
    pid = int((tmp_path / "pid").read_text())
    _until(lambda: not _runs(pid))


@pytest.mark.asyncio
async def test_the_servers_secrets_are_not_handed_to_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAKE_TOKEN", "a secret")
    code = "import os, sys; sys.exit(3 if 'LONGTAKE_TOKEN' in os.environ else 0)"
    assert len(await whole(program(code))) == 0


@pytest.fixture
def speech_server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Serve `/v1/audio/speech` of 24 kHz, and other paths that fail; give the address and the bodies of requests."""
    bodies: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            bodies[-1]["token"] = self.headers.get("authorization")
            kind = {"/mp3": "audio/mpeg", "/rate": "audio/pcm; rate=48000"}.get(self.path, "audio/pcm")
            self.send_response(500 if self.path == "/broken" else 200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(b"out of\nmemory" if self.path == "/broken" else bytes(48_000))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()


@pytest.mark.asyncio
async def test_a_server_is_asked_as_openai_is_and_its_answer_spoken(
    speech_server: tuple[str, list[dict[str, object]]],
) -> None:
    address, bodies = speech_server
    voice = voice_of(f"{address}/v1/audio/speech", 24_000, '{"model": "kokoro", "voice": "af_heart"}', "t")
    assert len(await whole(voice, wish=VoiceWish(speed=240))) == pytest.approx(RATE, abs=2)
    assert len(await whole(ServerVoice(f"{address}/rate", 24_000, {}))) == RATE // 2  # the answer names its rate
    asked = {"response_format": "pcm", "model": "kokoro", "voice": "af_heart", "speed": 1.5}
    assert bodies[0] == {**asked, "input": TEXT, "token": "Bearer t"}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "rate", "said"),
    [
        ("/broken", 24_000, "answered with 500: out of memory$"),
        ("/mp3", 24_000, 'sends "audio/mpeg", not raw sound'),
        ("/any", None, "tells no rate; start this server with --voice-rate$"),
    ],
)
async def test_what_went_wrong_with_a_server_is_said_in_one_line(
    speech_server: tuple[str, list[dict[str, object]]], path: str, rate: int | None, said: str
) -> None:
    with pytest.raises(VoiceError, match=said):
        await whole(ServerVoice(speech_server[0] + path, rate, {}))


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(VoiceError, match=r"127\.0\.0\.1 did not answer \(ConnectError\)"):
        await whole(ServerVoice("http://127.0.0.1:9/speech", 24_000, {}))


@pytest.mark.asyncio
async def test_wishes_that_a_voice_cannot_fulfil_are_refused() -> None:
    with pytest.raises(VoiceWishError, match=r"^pitch: this server speaks with another server, which has no pitch"):
        await whole(ServerVoice("http://127.0.0.1:9/", 24_000, {}), wish=VoiceWish(pitch=3))
    with pytest.raises(VoiceWishError, match=r"^voice: this server speaks with the program"):
        await whole(program(ECHO), wish=VoiceWish(voice="ada"))
    with pytest.raises(VoiceWishError, match=r"^language: hibari speaks en and en-us, not de"):
        await whole(HibariVoice(), wish=VoiceWish(language="de"))


@pytest.mark.parametrize(
    ("choice", "rate", "body", "said"),
    [
        ("no-such-program --raw", 16_000, None, "no program 'no-such-program'"),
        ("cat", None, None, "--voice-rate how many samples"),
        ("cat 'x", 16_000, None, "no command line"),
        ("", 16_000, None, "no program ''"),
        ("cat", 4_000, None, "4000 samples a second; a voice has 8000 to 48000"),
        ("cat", 16_000, "{}", "--voice-body is for a voice at an http address"),
        ("espeak-ng", 16_000, None, "has a rate of its own"),
        ("http://", 16_000, None, "no address"),
        ("https://xn--/", 16_000, None, "no address"),
        ("http://localhost/", 16_000, "[]", "must be a JSON object"),
        ("http://localhost/", 16_000, '{"input": 1}', "must be a JSON object without `input`"),
    ],
)
def test_options_of_a_voice_that_cannot_be_used_are_refused(
    choice: str, rate: int | None, body: str | None, said: str
) -> None:
    with pytest.raises(VoiceChoiceError, match=said):
        voice_of(choice, rate, body, None)


@pytest.mark.skipif(importlib.util.find_spec("hibari") is None, reason='needs pip install "longtake[voice]"')
@pytest.mark.asyncio
async def test_the_neural_voice_speaks_english_and_says_what_it_cannot() -> None:
    voice = HibariVoice()
    slow, fast = [await whole(voice, "Good evening, how are you?", VoiceWish(speed=s)) for s in (None, 300)]
    assert 1 < len(slow) / RATE < 4
    assert len(fast) < 0.75 * len(slow)
    assert 0.1 < np.abs(slow.astype(float)).max() / 32768 < 1
    with pytest.raises(VoiceError, match="no English word"):
        await whole(voice, "你好")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _until(condition: Callable[[], bool], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
