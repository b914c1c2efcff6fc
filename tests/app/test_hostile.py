"""Hostile requests get the right status, the server survives them, and no answer holds a path or a traceback."""

from __future__ import annotations

import base64
import contextlib
import json
import resource
import socket
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from studio_server import ROOT, serving
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

TOKEN = "correct-horse-battery-staple"
AUTH = {"authorization": f"Bearer {TOKEN}"}
GHOST = "0" * 32

Row = tuple[str, str, dict[str, str], bytes, set[int]]


def png_of(width: int, height: int) -> bytes:
    """Return about a hundred bytes of PNG whose header claims this size."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", body) + part(b"IEND", b"")


def rows() -> list[Row]:
    """Return hostile requests: (method, path, headers, body, allowed statuses)."""
    out: list[Row] = []

    def add(status: int | set[int], method: str, path: str, body: bytes | str = b"", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        out.append((method, path, named, data, status if isinstance(status, set) else {status}))

    # without a token or with a wrong one
    guarded = ["/", "/api/models", "/api/takes", "/api/takes/0123456789ab", "/metrics", "/docs", "/openapi.json"]
    guarded += [
        "/config",
        "/gradio_api/info",
        "/gradio_api/file=/etc/passwd",
        f"/api/sessions/{GHOST}",
        "//",
        "/../api/takes",
    ]
    for path in guarded:
        add(401, "GET", path)
        add(401, "GET", path, authorization="Bearer wrong")
    for value in (
        "",
        "Bearer",
        f"Basic {TOKEN}",
        f"bearer x{TOKEN}",
        f"Bearer {TOKEN}x",
        TOKEN,
        "Bearer \xff" * 9,
    ):
        add(401, "GET", "/api/models", authorization=value)
    for cookie in (
        "longtake_token=",
        "longtake_token=x",
        "longtake_token",
        "=;=;",
        "a" * 5000,
        'longtake_token="\\377"',
    ):
        add(401, "GET", "/api/models", cookie=cookie)
    for path in ("/api/sessions", "/gradio_api/upload", "/gradio_api/queue/join", f"/api/sessions/{GHOST}/control"):
        add(401, "POST", path, "{}")
    add(401, "POST", "/login", "token=guess")
    add(401, "POST", "/login", b"\xff\xfe")
    add(413, "POST", "/login", b"x" * 200_000)
    add(200, "GET", "/healthz")
    add(200, "GET", "/login")

    # from other sites
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", "https://localhost", "file://"):
        add(403, "POST", "/api/sessions", '{"prompt": "x"}', origin=origin, **AUTH)
        add(403, "POST", f"/api/sessions/{GHOST}/offer", "{}", origin=origin)

    # sessions
    bodies = [
        "", "{", "[]", "null", "1", '"x"', "{}", '{"prompt": ""}', '{"prompt": 5}', '{"prompt": null}',
        '{"prompt": "x", "model": 5}', '{"prompt": "x", "seed": -1}', '{"prompt": "x", "seed": 1e400}',
        '{"prompt": "x", "seed": 9223372036854775808}', '{"prompt": "x", "look_ahead": "far"}',
        '{"prompt": "a fish' + chr(0xFDFA) * 3900 + '"}', '{"prompt": "a fish", "seed": true}',
        '{"prompt": "x", "set": {"chunk": "3"}}', '{"prompt": "x", "set": []}', '{"prompt": "x", "extra": 1}',
        '{"prompt": "x", "ticket": 5}', '{"prompt": "' + "x" * 4001 + '"}', "[" * 50_000, b"\xff\xfe\x00",
    ]  # fmt: skip
    for body in bodies:
        add({400, 422}, "POST", "/api/sessions", body, content_type="application/json", **AUTH)
    for body in (
        '{"prompt": "a fish", "size": "big"}', '{"prompt": "a fish", "size": "0x0"}',
        '{"prompt": "a fish", "size": "33x33"}',
        '{"prompt": "a fish", "size": "99999x99999"}', '{"prompt": "a fish", "size": "-1x5"}', '{"prompt": "  "}',
        '{"prompt": "a fish", "set": {"anchor": "floating"}}', '{"prompt": "a fish", "size": "4096x4096"}',
    ):  # fmt: skip
        add(400, "POST", "/api/sessions", body, content_type="application/json", **AUTH)
    for model in ("nope", "../pocket", "/etc/passwd", "pocket\\u0000", ""):
        add(
            404,
            "POST",
            "/api/sessions",
            f'{{"prompt": "a fish", "model": "{model}"}}',
            content_type="application/json",
            **AUTH,
        )
    add(
        409,
        "POST",
        "/api/sessions",
        '{"prompt": "a fish", "model": "longlive-1.3b"}',
        content_type="application/json",
        **AUTH,
    )
    add(413, "POST", "/api/sessions", b"x" * 200_000, content_type="application/json", **AUTH)
    for method in ("PUT", "PATCH", "DELETE", "TRACE"):
        add({404, 405}, method, "/api/sessions", "{}", **AUTH)

    # sessions that do not exist, and ids that are malformed
    for session in (GHOST, "x", "%2e%2e", "%00", "a" * 3000, "'; DROP TABLE takes", "🎈"):
        add({404, 400}, "GET", f"/api/sessions/{session}", **AUTH)
        add(
            {404, 400},
            "POST",
            f"/api/sessions/{session}/offer",
            '{"sdp": "v=0"}',
            content_type="application/json",
            **AUTH,
        )
        add({404, 400}, "POST", f"/api/sessions/{session}/control", '{"id": 1, "type": "pause"}', **AUTH)
        add({404, 400}, "POST", f"/whep/{session}", "v=0", content_type="application/sdp", **AUTH)
        add({404, 400}, "DELETE", f"/whep/{session}/{GHOST}", **AUTH)
        add({404, 400}, "GET", f"/watch/{session}", **AUTH)
    add(415, "POST", f"/whep/{GHOST}", "v=0", content_type="text/plain", **AUTH)

    # avatars
    for path in ("say", "audio", "interrupt"):
        # the route of sound checks the key itself: a session that is not there has none
        add(404 if path == "audio" else 401, "POST", f"/api/sessions/{GHOST}/{path}", "{}")
        add(404, "POST", f"/api/sessions/{GHOST}/{path}", '{"text": "x"}', content_type="application/json", **AUTH)
        add(403, "POST", f"/api/sessions/{GHOST}/{path}", "{}", origin="http://evil.example", **AUTH)
    add(413, "POST", f"/api/sessions/{GHOST}/audio", b"x" * (17 << 20), **AUTH)
    add(413, "POST", f"/api/sessions/{GHOST}/say", b"x" * 200_000, **AUTH)
    for look in ("nobody", "..%2f..%2fetc%2fpasswd", "hair=", "=", "hair=bob,hair", "x" * 3000, "%00"):
        add(404, "GET", f"/api/faces/{look}", **AUTH)
    add(401, "GET", "/api/faces")
    add(401, "GET", "/avatar/")
    for body in ('{"model": "pocket"}', '{"model": "pocket", "face": "ada"}', '{"prompt": ""}', '{"portrait": "%"}'):
        add({400, 422}, "POST", "/api/sessions", body, content_type="application/json", **AUTH)
    for side in (12_000, 20_000, 40_000, 2**31 - 1):
        bomb = base64.b64encode(png_of(side, side)).decode()
        body = json.dumps({"model": "pocket-avatar", "portrait": bomb})
        add(400, "POST", "/api/sessions", body, content_type="application/json", **AUTH)
    for name in ("sound", "reference"):
        add(404, "GET", f"/api/takes/0123456789ab/{name}", **AUTH)
        add(404, "GET", f"/api/takes/..%2f..%2fserve/{name}", **AUTH)

    # takes and files: nothing outside the data folder is sent
    for take in (
        "0123456789ab", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/serve.log", "....//serve",
        "0123456789AB", "0123456789ab.yaml", "serve.log", "%00", "~root", "C:\\windows", "a" * 2000,
    ):  # fmt: skip
        add({404, 400}, "GET", f"/api/takes/{take}", **AUTH)
        add({404, 400, 405}, "POST", f"/api/takes/{take}/render", **AUTH)
        add({404, 400}, "GET", f"/api/takes/{take}/film", **AUTH)
        add({404, 400, 422}, "GET", f"/api/takes/{take}/recordings/1", **AUTH)
        add({404, 400, 405}, "POST", f"/api/takes/{take}/continue", "{}", content_type="application/json", **AUTH)
    for path in ("render", "film", "recordings/1", "recordings/../x", "recordings/-1", "recordings/1e9"):
        add(401, "GET", f"/api/takes/0123456789ab/{path}")
        add({404, 400, 422}, "GET", f"/api/takes/0123456789ab/{path}", **AUTH)
    add({404}, "DELETE", "/api/takes/0123456789ab/render", **AUTH)
    for name in (
        "..%2fserver.py",
        "../server.py",
        "server.py",
        "studio.js%00",
        "PLAYER.JS",
    ):
        add({404, 400}, "GET", f"/page/{name}", **AUTH)
    for path in ("/etc/passwd", "/proc/self/environ", "app/server.py", "../../etc/passwd", "pyproject.toml"):
        add({403, 404, 400}, "GET", f"/gradio_api/file={path}", **AUTH)
    return out


ROWS = rows()
OFFERS = [
    "", "v=0", "v=0\r\n", "x" * 100, "v=0" + "x" * 70_000, "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n",
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    "c=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtpmap:96 VP9/90000\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11\r\na=setup:actpass\r\na=rtcp-mux\r\n",
    "v=0\r\n" + "a=candidate:1 1 UDP 1 300.300.300.300 99999 typ host\r\n" * 50,
    "v=0\r\nm=video -1 X\r\n", "v=0\r\nm=\r\n", "v=0\x00\x00", "v=0\r\n" + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 500,
]  # fmt: skip
MESSAGES = [
    '{"id": 1, "type": "prompt", "text": "a fish' + "\\ufdfa" * 2000 + '"}', '{"id": true, "type": "pause"}',
    "", "{", "[]", "null", "1", '{"type": "prompt"}', '{"id": 1, "type": "prompt", "text": ""}',
    '{"id": 1, "type": "x"}',
    '{"id": "1", "type": "pause"}', '{"id": 1e400, "type": "pause"}', '{"id": 1, "type": "rewind", "latent": 99999}',
    '{"id": 1, "type": "rewind", "latent": -1}', '{"id": 1, "type": "resume"}', '{"id": 1, "type": "stop_recording"}',
    '{"id": 1, "type": "prepare"}', '{"id": 1, "type": "undo"}',
    '{"id": 1, "type": "set", "name": "window", "value": "3"}', '{"id": 1, "type": "seed", "seed": -5}',
    "[" * 10_000, "x" * 20_000, '{"id": 1, "type": "prompt", "text": "' + "y" * 5000 + '"}', '{"id": NaN}',
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def served(data: Path) -> Iterator[tuple[str, psutil.Process]]:
    with serving(data, token=TOKEN, grace=900) as (address, process):
        yield address, psutil.Process(process.pid)
        assert process.poll() is None


@pytest.fixture(scope="module")
def server(served: tuple[str, psutil.Process]) -> str:
    return served[0]


@pytest.fixture(scope="module")
def session(server: str) -> Iterator[dict[str, Any]]:
    got = httpx.post(f"{server}/api/sessions", json={"prompt": "a red ball bounces by day"}, headers=AUTH)
    assert got.status_code == 201
    return got.json()


def clean(text: str) -> None:
    for secret in ("Traceback", 'File "', str(ROOT), "site-packages", "root:x:", TOKEN):
        assert secret not in text


def test_there_are_at_least_200_hostile_requests() -> None:
    assert len(ROWS) + 2 * len(OFFERS) + 2 * len(MESSAGES) >= 200


def test_every_hostile_request_is_answered_with_its_status(server: str) -> None:
    wrong = []
    for number, (method, path, headers, body, allowed) in enumerate(ROWS):
        raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        # each request from another address: the limit on requests has its own test
        with httpx.Client(transport=httpx.HTTPTransport(local_address=f"127.0.1.{number % 250 + 1}")) as client:
            try:
                answer = client.request(method, server + path, headers=raw, content=body)
            except httpx.TransportError as e:
                wrong.append((method, path[:60], body[:40], f"no answer: {e!r}"))
                continue
        if answer.status_code not in allowed:  # collected, so that one run shows all
            wrong.append((method, path[:60], body[:40], answer.status_code, answer.text[:80]))
        if answer.status_code >= 400:
            clean(answer.text)
    assert not wrong, "\n".join(map(repr, wrong))


@pytest.mark.parametrize("number", range(len(OFFERS)))
def test_malformed_offers_are_refused(server: str, session: dict[str, Any], number: int) -> None:
    offer = OFFERS[number]
    whep = httpx.post(
        f"{server}/whep/{session['id']}", content=offer, headers={"content-type": "application/sdp", **AUTH}
    )
    joined = httpx.post(f"{server}/api/sessions/{session['id']}/offer", json={"sdp": offer, "key": session["key"]})
    for answer in (whep, joined):
        assert answer.status_code in (400, 406, 413), answer.text
        clean(answer.text)


@pytest.mark.parametrize("number", range(len(MESSAGES)))
def test_malformed_commands_are_refused_over_http_and_socket(server: str, session: dict[str, Any], number: int) -> None:
    headers = {**AUTH, "x-longtake-key": session["key"]}
    url = f"{server}/api/sessions/{session['id']}/control"
    answer = httpx.post(url, content=MESSAGES[number], headers=headers)
    assert answer.status_code == 400, answer.text
    clean(answer.text)
    with connect(f"{server.replace('http', 'ws')}/api/sessions/{session['id']}/stream?key={session['key']}") as socket:
        socket.send(MESSAGES[number])
        for _ in range(200):
            got = socket.recv(timeout=10)
            if isinstance(got, str) and json.loads(got)["type"] == "refused":
                clean(got)
                break
        else:
            raise AssertionError("the command was not refused")


def test_files_of_the_server_are_for_its_user_alone(session: dict[str, Any], data: Path) -> None:
    files = list((data / "takes").rglob("*"))
    assert any(file.name == f"{session['take']}.jsonl" for file in files)
    assert all(file.stat().st_mode & 0o077 == 0 for file in [data / "takes", *files])


def test_a_key_of_another_session_controls_nothing(server: str, session: dict[str, Any]) -> None:
    for key in ("", "x", "é", session["key"] + "x"):
        raw = [(b"authorization", AUTH["authorization"].encode()), (b"x-longtake-key", key.encode())]
        answer = httpx.post(
            f"{server}/api/sessions/{session['id']}/control", content='{"id":1,"type":"end"}', headers=raw
        )
        assert answer.status_code == 403
        assert httpx.delete(f"{server}/api/sessions/{session['id']}", headers=raw).status_code == 403


def test_sockets_from_other_sites_and_to_unknown_sessions_are_refused(server: str, session: dict[str, Any]) -> None:
    url = f"{server.replace('http', 'ws')}/api/sessions/{session['id']}/stream"
    evil = Origin("http://evil.example")
    with pytest.raises((InvalidStatus, ConnectionClosed)), connect(url, origin=evil) as socket:
        socket.recv(timeout=5)
    own = {"additional_headers": AUTH}
    with pytest.raises(ConnectionClosed), connect(url.replace(session["id"], GHOST), **own) as socket:
        socket.recv(timeout=5)


def test_too_many_requests_from_one_address_are_refused_for_a_minute(server: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.2.1")) as client:
        answers = [client.post(f"{server}/api/sessions", json={}, headers=AUTH) for _ in range(260)]
        refused = [a for a in answers if a.status_code == 429]
        assert len(refused) == 20
        assert all(1 <= int(a.headers["retry-after"]) <= 60 for a in refused)
        assert client.get(f"{server}/healthz").status_code == 200


def test_a_server_out_of_file_descriptors_plays_on_refuses_politely_and_recovers(
    served: tuple[str, psutil.Process], session: dict[str, Any], data: Path
) -> None:
    server, process = served
    port, greedy = int(server.rpartition(":")[2]), "127.0.4.1"
    url, key = f"{server}/api/sessions/{session['id']}", AUTH | {"x-longtake-key": session["key"]}

    def answer(address: str) -> httpx.Response:
        with httpx.Client(transport=httpx.HTTPTransport(local_address=address), timeout=20) as client:
            return client.get(url, headers=AUTH)

    limit, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    try:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (process.num_fds() + 40, hard))
        with contextlib.ExitStack() as held:
            for _ in range(120):
                held.enter_context(socket.create_connection(("127.0.0.1", port), 20, (greedy, 0)))
            refused = answer(greedy)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert refused.json() == {"error": "too many connections are open; try again later"}
            before = answer("127.0.0.1").json()["playhead"]  # another address gets in
            deadline = time.monotonic() + 20
            while answer("127.0.0.1").json()["playhead"] < before + 4 and time.monotonic() < deadline:
                pass
            assert answer("127.0.0.1").json()["playhead"] >= before + 4
            paused = httpx.post(f"{url}/control", json={"id": 1, "type": "pause"}, headers=key)
            assert paused.status_code == 202, paused.text
            while answer("127.0.0.1").json()["phase"] != "paused":
                pass
            shares, deadline = [1.0], time.monotonic() + 20
            while shares[-1] >= 0.5 and time.monotonic() < deadline:  # the chunks ahead are still drawn after a pause
                begun, used = time.monotonic(), sum(process.cpu_times()[:2])
                while time.monotonic() < begun + 2:  # more of them wait to be accepted all the time
                    with socket.create_connection(("127.0.0.1", port), 20, (greedy, 0)):
                        pass
                    time.sleep(0.02)
                shares.append((sum(process.cpu_times()[:2]) - used) / (time.monotonic() - begun))
            assert shares[-1] < 0.5, shares
        deadline = time.monotonic() + 10
        while answer(greedy).status_code != 200 and time.monotonic() < deadline:
            pass
        assert answer(greedy).status_code == 200
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (limit, hard))
        httpx.post(f"{url}/control", json={"id": 2, "type": "resume"}, headers=key)
    log = (data / "serve.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]
    assert log.count("no connection can be accepted") <= 1


def test_after_all_that_the_server_still_answers_and_starts_sessions(server: str, session: dict[str, Any]) -> None:
    answer = httpx.get(f"{server}/api/sessions/{session['id']}", headers=AUTH)
    assert answer.status_code == 200
    assert httpx.post(f"{server}/api/sessions", json={"prompt": "a red ball"}, headers=AUTH).status_code in (201, 503)


def test_serving_other_machines_needs_a_token(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    env = {k: v for k, v in os.environ.items() if k != "LONGTAKE_TOKEN"}
    command = [sys.executable, "-m", "app.cli", "serve", "--host", "0.0.0.0", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "error: 0.0.0.0 can be reached by others: set LONGTAKE_TOKEN, or say --insecure\n"


def test_a_token_with_characters_of_base64_logs_in(tmp_path: Path) -> None:
    token = "q+8/Zz1b7w=="
    with serving(tmp_path, token=token) as (address, _), httpx.Client() as client:
        assert client.post(f"{address}/login", data={"token": "q+8/Zz1b7w="}).status_code == 401
        assert client.post(f"{address}/login", data={"token": token}).status_code == 303
        assert client.get(f"{address}/api/takes").status_code == 200
