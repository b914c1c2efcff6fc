"""Players watch by WHEP: GStreamer, a client that insists on every detail, and programs that ask before they offer."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from tiny_server import serving_tiny_model, session_of, status_of

ICE = [{"urls": ["stun:stun.example", "turn:turn.example?transport=udp"], "username": 'a"b', "credential": "c\\d"}]
LINKS = ", ".join(
    f'<{url}>; rel="ice-server"; username="a\\"b"; credential="c\\\\d"; credential-type="password"'
    for url in ("stun:stun.example", "turn:turn.example?transport=udp")
)
FRAGMENT = "application/trickle-ice-sdpfrag"
GSTREAMER = Path(__file__).with_name("gstreamer_client.py")
PYTHON = "/usr/bin/python3"  # the system's, which has GStreamer's bindings
SYSTEM = subprocess.run([PYTHON, "-c", "import gi; gi.require_version('GstWebRTC', '1.0')"], check=False, stderr=-3)
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-inspect-1.0") is None or SYSTEM.returncode != 0,
    reason="needs GStreamer: apt-get install gstreamer1.0-plugins-bad gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_tiny_model(tmp_path_factory.mktemp("whep"), {"LONGTAKE_ICE": json.dumps(ICE)}) as address:
        yield address


@pytest.fixture
def session(server: str) -> Iterator[dict[str, Any]]:
    with session_of(server) as session:
        yield session


async def offered(page: RTCPeerConnection, *codecs: str) -> str:
    """Return an offer to receive video with these codecs, or with all."""
    transceiver = page.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video").codecs
    if codecs:
        transceiver.setCodecPreferences([c for c in known if c.name in codecs])
    await page.setLocalDescription(await page.createOffer())
    return str(page.localDescription.sdp)


def post(url: str, sdp: str, media_type: str = "application/sdp") -> httpx.Response:
    return httpx.post(url, content=sdp, headers={"content-type": media_type})


def test_a_strict_player_asks_connects_trickles_plays_and_leaves(server: str, session: dict[str, Any]) -> None:
    async def player() -> None:
        url, page = f"{server}/whep/{session['id']}", RTCPeerConnection()
        asked = httpx.options(url)
        assert asked.status_code == 204
        assert asked.headers["accept-post"] == "application/sdp"
        assert asked.headers["link"] == LINKS
        sdp = await offered(page)
        answer = post(url, sdp, "Application/SDP; charset=utf-8")
        assert answer.status_code == 201
        assert answer.headers["content-type"] == "application/sdp"
        assert answer.headers["link"] == LINKS
        assert answer.headers["accept-patch"] == FRAGMENT
        assert answer.headers["location"].startswith(f"{session['id']}/")  # relative, for proxies
        etag, resource = answer.headers["etag"], urljoin(url, answer.headers["location"])
        await page.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        track = page.getTransceivers()[0].receiver.track
        for _ in range(8):
            await asyncio.wait_for(track.recv(), 20)
        assert status_of(server, session)["viewers"] == 1

        ufrag = next(line for line in sdp.splitlines() if line.startswith("a=ice-ufrag:"))
        late = f"{ufrag}\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 5 typ host\r\n"

        def patch(body: str, media_type: str = FRAGMENT, **headers: str) -> httpx.Response:
            return httpx.patch(resource, content=body, headers={"content-type": media_type, **headers})

        added = patch(late, **{"if-match": etag})
        assert (added.status_code, added.content, added.headers["etag"]) == (204, b"", etag)
        assert patch(late).status_code == 428
        assert patch(late, **{"if-match": '"other"'}).status_code == 412
        assert patch(late, "text/plain", **{"if-match": etag}).status_code == 415
        assert patch("hello", **{"if-match": etag}).status_code == 400
        restart = patch("a=ice-ufrag:newone\r\na=ice-pwd:0123456789012345678901\r\n", **{"if-match": "*"})
        assert (restart.status_code, restart.headers["content-type"]) == (200, FRAGMENT)
        assert restart.headers["etag"] != etag
        assert all(f"a={line}:" in restart.text for line in ("ice-ufrag", "ice-pwd", "mid", "candidate"))
        assert patch(late, **{"if-match": etag}).status_code == 412
        await asyncio.wait_for(track.recv(), 20)  # over the former ICE session

        assert httpx.options(resource).headers["allow"] == "DELETE, OPTIONS, PATCH"
        for wrong in ("GET", "HEAD", "PUT", "POST"):
            got = httpx.request(wrong, resource)
            assert (got.status_code, got.headers["allow"]) == (405, "DELETE, OPTIONS, PATCH")
        assert httpx.delete(resource).status_code == 200
        assert httpx.delete(resource).status_code == 404
        assert status_of(server, session)["viewers"] == 0
        await page.close()

    asyncio.run(player())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_an_endpoint_names_the_methods_that_it_has(server: str, session: dict[str, Any], method: str) -> None:
    got = httpx.request(method, f"{server}/whep/{session['id']}")
    assert (got.status_code, got.headers["allow"]) == (405, "OPTIONS, POST")


def test_an_offer_that_cannot_be_answered_is_told_what_it_lacks(server: str, session: dict[str, Any]) -> None:
    async def players() -> None:
        url = f"{server}/whep/{session['id']}"
        page = RTCPeerConnection()
        refused = post(url, (await offered(page, "VP8")).replace("VP8", "VP9"))
        assert refused.status_code == 406
        assert "VP9, and this server sends H264 and VP8" in refused.json()["error"]
        await page.close()
        assert post(url, "hello").status_code == 400
        wrong = post(url, "v=0", "text/plain")
        assert (wrong.status_code, wrong.headers["accept-post"]) == (415, "application/sdp")
        assert post(f"{server}/whep/{'0' * 32}", "v=0").status_code == 404
        assert httpx.options(f"{server}/whep/{'0' * 32}").status_code == 404
        assert status_of(server, session)["viewers"] == 0

    asyncio.run(players())


@needs_gstreamer
def test_gstreamer_plays_with_a_section_of_sound_that_is_rejected(server: str, session: dict[str, Any]) -> None:
    command = [PYTHON, str(GSTREAMER), "whep", f"{server}/whep/{session['id']}", "20", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    played = json.loads(done.stdout)
    assert played["got"]["video"] >= 20
    assert played["sizes"] == [[256, 256]]
    assert (played["setup"], played["left"]) == ("actpass", 200)
    assert status_of(server, session)["viewers"] == 0
