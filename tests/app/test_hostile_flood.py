"""Thousands of made-up inputs over every door of one server process: no 5xx, no traceback, no growth."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from studio_server import serving
from test_hostile import AUTH, MESSAGES, OFFERS, ROWS, TOKEN

pytestmark = [pytest.mark.long, pytest.mark.timeout(560)]
ROUNDS = 3
CHANCE = random.Random(17)


def mutated(text: bytes) -> bytes:
    """Return the text with a few bytes changed, removed, doubled or put in."""
    out = bytearray(text)
    for _ in range(CHANCE.randint(1, 6)):
        at = CHANCE.randrange(len(out) + 1)
        piece = bytes(CHANCE.randrange(256) for _ in range(CHANCE.choice([0, 1, 4, 64])))
        out[at : at + CHANCE.choice([0, 1, 3, 40])] = piece
    return bytes(out)


def spread() -> httpx.AsyncHTTPTransport:
    """Return a transport from an address of its own: limits on requests have tests of their own."""
    return httpx.AsyncHTTPTransport(local_address=f"127.1.{CHANCE.randrange(250)}.{CHANCE.randint(1, 250)}")


async def over_http(server: str, statuses: Counter[int]) -> int:
    tried = 0
    for method, path, headers, body, _ in ROWS:
        for _ in range(ROUNDS):
            raw = [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
            target = (
                path if CHANCE.random() < 0.6 else path + CHANCE.choice(["/", "%00", "/..%2f", "?a=%ff", ";x", "//"])
            )
            async with httpx.AsyncClient(transport=spread(), timeout=30) as client:
                small = mutated(body) if len(body) < 65_536 else body
                answer = await client.request(method, server + target, headers=raw, content=small)
            statuses[answer.status_code] += 1
            assert "Traceback" not in answer.text
            tried += 1
    return tried


async def offers(server: str, session: dict[str, Any], good: str, statuses: Counter[int]) -> int:
    texts = [mutated(good.encode()) for _ in range(250)] + [
        mutated(o.encode()[:4000]) for o in OFFERS for _ in range(10)
    ]
    for number, text in enumerate(texts):
        door = ("whep", "whip")[number % 2]
        headers = {**AUTH, "content-type": "application/sdp", "x-longtake-key": session["key"]}
        async with httpx.AsyncClient(transport=spread(), timeout=30) as client:
            answer = await client.post(f"{server}/{door}/{session['id']}", content=text, headers=headers)
            statuses[answer.status_code] += 1
            if answer.status_code == 201:  # it was still an offer: leave again
                await client.delete(f"{server}/{door}/{answer.headers['location']}", headers=headers)
    return len(texts)


async def over_sockets(server: str, session: dict[str, Any]) -> int:
    """Send mutated commands to sockets with and without the key, a few to each."""
    url, tried = f"{server.replace('http', 'ws')}/api/sessions/{session['id']}/stream", 0
    messages = [mutated(m.encode()[:3000]) for m in MESSAGES for _ in range(12)]
    for start in range(0, len(messages), 12):
        query = f"?key={session['key']}" if start % 24 else ""
        async with websockets.connect(url + query, additional_headers=AUTH, max_size=None) as viewer:
            for text in messages[start : start + 12]:
                kind = text.decode("utf-8", "replace") if CHANCE.random() < 0.9 else text
                try:
                    await viewer.send(kind)
                except websockets.ConnectionClosed:
                    break
                tried += 1
            await asyncio.sleep(0)
    return tried


async def over_a_peer(server: str, session: dict[str, Any]) -> int:
    """Send mutated commands over data channels, and junk to the UDP port of each connection."""
    tried = 0
    for _ in range(4):
        page = RTCPeerConnection()
        channel, opened = page.createDataChannel("control"), asyncio.Event()
        channel.on("open", opened.set)
        page.addTransceiver("video", direction="recvonly")
        await page.setLocalDescription(await page.createOffer())
        async with httpx.AsyncClient(transport=spread(), timeout=30) as client:
            body = {"sdp": page.localDescription.sdp, "key": session["key"]}
            answer = (await client.post(f"{server}/api/sessions/{session['id']}/offer", json=body)).json()
        await page.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await asyncio.wait_for(opened.wait(), 30)
        for message in MESSAGES:
            for _ in range(2):
                channel.send(mutated(message.encode()[:3000]))
                tried += 1
        candidates = [line.split() for line in answer["sdp"].splitlines() if line.startswith("a=candidate:")]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as junk:
            for words in [w for w in candidates if ":" not in w[4]][:1]:
                for first in range(256):  # STUN, DTLS and RTP are told apart by their first byte (RFC 7983)
                    junk.sendto(bytes([first]) + CHANCE.randbytes(CHANCE.randrange(1200)), (words[4], int(words[5])))
                    tried += 1
        await asyncio.sleep(0.2)
        await page.close()
    return tried


async def good_offer() -> str:
    page = RTCPeerConnection()
    page.createDataChannel("control")
    page.addTransceiver("video", direction="recvonly")
    await page.setLocalDescription(await page.createOffer())
    sdp = str(page.localDescription.sdp)
    await page.close()
    return sdp


def test_two_thousand_hostile_inputs_cost_nothing(tmp_path: Path) -> None:
    async def everything(server: str, process: psutil.Process) -> None:
        async with httpx.AsyncClient(timeout=30) as client:
            session = (await client.post(f"{server}/api/sessions", json={"prompt": "a red ball"}, headers=AUTH)).json()
        good, statuses, tried = await good_offer(), Counter[int](), Counter[str]()
        figures = []
        for _ in range(2):  # what the first round has loaded and cached is not growth
            tried["http"] += await over_http(server, statuses)
            tried["sdp"] += await offers(server, session, good, statuses)
            tried["websocket"] += await over_sockets(server, session)
            tried["data channel and udp"] += await over_a_peer(server, session)
            await asyncio.sleep(16)  # connections that never came about are given up
            async with httpx.AsyncClient(timeout=30) as client:
                status = (await client.get(f"{server}/api/sessions/{session['id']}", headers=AUTH)).json()
            held = int(
                status["held_mb"]
            )  # snapshots of the session fill their budget whether or not anything is hostile
            figures.append(((process.memory_info().rss >> 20) - held, process.num_fds()))
            print(f"\n{sum(tried.values())} inputs {dict(tried)}: {dict(statuses)}")
            print(f"MB without snapshots and descriptors {figures}")
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(f"{server}/healthz")).status_code == 200
        assert sum(tried.values()) >= 2000
        assert not {s: n for s, n in statuses.items() if s >= 500 and s != 503}
        assert figures[1][0] - figures[0][0] < 60
        assert figures[1][1] - figures[0][1] < 10

    with serving(tmp_path, token=TOKEN, grace=900) as (server, process):
        asyncio.run(everything(server, psutil.Process(process.pid)))
        assert process.poll() is None
    log = (tmp_path / "serve.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 : log.index("Traceback") + 3000]
    assert " failed" not in log
