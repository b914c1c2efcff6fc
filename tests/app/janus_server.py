"""Run Debian's Janus, an SFU of another maker, behind the HTTP of WHIP.

Janus speaks an HTTP of its own. As Meetecho's Simple WHIP Server does, `JanusFront` turns the offer of a publisher into
a join of a video room, and gives back Janus's answer. What Janus receives is forwarded as plain RTP to a local port.
"""

from __future__ import annotations

import http.server
import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from studio_server import free_port

needs_janus = pytest.mark.skipif(shutil.which("janus") is None, reason="needs Janus: apt-get install janus")
ROOM = 7
PLUGINS = ["audiobridge", "duktape", "echotest", "lua", "nosip", "recordplay", "sip", "streaming", "textroom"]
PLUGINS += ["videocall", "voicemail"]  # all but the video room
TRANSPORTS = ["mqtt", "nanomsg", "pfunix", "rabbitmq", "websockets"]


class Forwarded:
    """Read the RTP of one medium, as Janus forwards it."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(20)

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def packets(self) -> Iterator[tuple[int, bool, bytes]]:
        """Give the timestamp, the marker and the payload of one packet after another."""
        while True:
            data = self.socket.recv(4096)
            begins = 12 + 4 * (data[0] & 15)
            if data[0] & 0x10:  # an extension of the header (RFC 3550, 5.3.1)
                begins += 4 + 4 * int.from_bytes(data[begins + 2 : begins + 4], "big")
            yield int.from_bytes(data[4:8], "big"), bool(data[1] & 0x80), data[begins:]

    def keyframe(self) -> None:
        """Return once a part of a keyframe has come, or its parameter sets."""
        next(payload for _, _, payload in self.packets() if _unit(payload) in (5, 7))

    def pictures(self, number: int) -> list[av.VideoFrame]:
        """Return so many decoded pictures, from a keyframe on."""
        decoder, unit, found = av.CodecContext.create("h264", "r"), b"", list[av.VideoFrame]()
        for _, ends, payload in self.packets():
            unit += H264PayloadDescriptor.parse(payload)[1]
            if ends:
                try:
                    found += decoder.decode(av.Packet(unit))
                except av.error.InvalidDataError:  # before the first keyframe
                    found.clear()
                unit = b""
            if len(found) >= number:
                return found
        return found


def _unit(payload: bytes) -> int:
    """Return the type of the NAL unit that a payload is, begins with or is a part of (RFC 6184, 5.2)."""
    kind = payload[0] & 31
    return payload[3] & 31 if kind == 24 else payload[1] & 31 if kind == 28 else kind


class JanusFront:
    """Answer WHIP for the one room of a Janus, and note what was asked."""

    def __init__(self, janus: str, token: str, video: Forwarded, audio: Forwarded) -> None:
        self._janus, self._token, self._media = janus, token, (video, audio)
        self._numbers = itertools.count()
        self.published: list[str] = []  # sessions of Janus
        self.ended: list[str] = []
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                front.post(self)

            def do_DELETE(self) -> None:
                front.delete(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/whip/film"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def ask_for_keyframe(self) -> None:
        """Have Janus ask the publisher for a keyframe by PLI."""
        self._ask(self._publisher, janus="message", body={"request": "configure", "keyframe": True})

    def post(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Publish an offer in the room."""
        if not self._permitted(request):
            return
        sdp = request.rfile.read(int(request.headers["content-length"])).decode()
        path = f"/{self._ask('', janus='create')['data']['id']}"
        handle = self._ask(path, janus="attach", plugin="janus.plugin.videoroom")["data"]["id"]
        join = {"request": "joinandconfigure", "ptype": "publisher", "room": ROOM}
        self._ask(f"{path}/{handle}", janus="message", body=join, jsep={"type": "offer", "sdp": sdp})
        while "jsep" not in (event := httpx.get(f"{self._janus}{path}", params={"maxev": 1}, timeout=20).json()):
            assert event["janus"] in ("ack", "event", "keepalive"), event
        publisher = event["plugindata"]["data"]["id"]
        self._publisher = f"{path}/{handle}"
        self._forward(f"{path}/{handle}", publisher)
        self.published.append(path)
        body = event["jsep"]["sdp"].encode()
        request.send_response(201)
        request.send_header("content-type", "application/sdp")
        request.send_header("content-length", str(len(body)))
        request.send_header("location", f"/resource{path}")
        request.end_headers()
        request.wfile.write(body)

    def delete(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """End what was published."""
        if self._permitted(request):
            path = request.path.removeprefix("/resource")
            self._ask(path, janus="destroy")
            self.ended.append(path)
            request.send_response(200)
            request.end_headers()

    def _permitted(self, request: http.server.BaseHTTPRequestHandler) -> bool:
        if request.headers.get("authorization") == f"Bearer {self._token}":
            return True
        request.send_error(401)
        return False

    def _forward(self, path: str, publisher: int) -> None:
        streams = [{"mid": str(n), "host": "127.0.0.1", "port": one.port} for n, one in enumerate(self._media)]
        body = {"request": "rtp_forward", "room": ROOM, "publisher_id": publisher, "host": "127.0.0.1"}
        answer = self._ask(path, janus="message", body={**body, "streams": streams})
        assert answer["plugindata"]["data"].get("videoroom") == "rtp_forward", answer

    def _ask(self, path: str, **message: Any) -> dict[str, Any]:
        asked = {**message, "transaction": str(next(self._numbers))}
        answer: dict[str, Any] = httpx.post(f"{self._janus}{path}", json=asked, timeout=20).json()
        assert answer["janus"] in ("success", "ack"), answer
        return answer


class Janus:
    """Run Janus with one room; its front and what it forwards outlive a kill of it."""

    def __init__(self, folder: Path, token: str) -> None:
        """Write the configuration into a folder, and start."""
        port = free_port()
        disabled = ",".join(f"libjanus_{name}.so" for name in PLUGINS)
        off = ",".join(f"libjanus_{name}.so" for name in TRANSPORTS)
        general = f'general: {{ session_timeout = 0 }}\nplugins: {{ disable = "{disabled}" }}\n'
        room = f'room-{ROOM}: {{ publishers = 9; videocodec = "h264"; audiocodec = "opus" }}\n'
        (folder / "janus.jcfg").write_text(f'{general}transports: {{ disable = "{off}" }}\n')
        (folder / "janus.transport.http.jcfg").write_text(
            f'general: {{ http = true; ip = "127.0.0.1"; port = {port} }}\n'
        )
        (folder / "janus.plugin.videoroom.jcfg").write_text(room)
        self._folder, self._address = folder, f"http://127.0.0.1:{port}/janus"
        self.video, self.audio = Forwarded(), Forwarded()
        self.front = JanusFront(self._address, token, self.video, self.audio)
        self.start()

    def start(self) -> None:
        """Start the process, and return once it answers."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(["janus", "-F", str(self._folder)], stdout=log, stderr=log)
        while self._process.poll() is None:
            try:
                httpx.get(f"{self._address}/info").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError((self._folder / "log").read_text())

    def kill(self) -> None:
        """End the process without a word to anybody."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Janus:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.front.close()
        self.video.socket.close()
        self.audio.socket.close()
