"""Play by WHEP with aiortc and print what came of it as JSON.

    python whep_client.py URL PICTURES own|given

With `given` the player uses the TURN server of the Link header for everything that it sends; with `own` it has no ICE
servers.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from urllib.parse import urljoin

import httpx
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy, RTCPeerConnection, RTCSessionDescription

LINK = re.compile(r'<(turn:[^>]*)>; rel="ice-server"; username="([^"]*)"; credential="([^"]*)"')


async def play(url: str, pictures: int, way: str) -> dict[str, object]:
    """Return how many ms the first picture took, and the addresses of both sides."""
    began, configuration = time.monotonic(), RTCConfiguration(iceServers=[])
    if way == "given":
        servers = [RTCIceServer(*found) for found in LINK.findall(httpx.options(url).headers["link"])]
        configuration = RTCConfiguration(servers, RTCIceTransportPolicy.RELAY)
    connection = RTCPeerConnection(configuration)
    transceiver = connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    sdp = connection.localDescription.sdp
    answer = httpx.post(url, content=sdp, headers={"content-type": "application/sdp"})
    answer.raise_for_status()
    await connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    first: float | None = None
    async with asyncio.timeout(20):
        for _ in range(pictures):
            await transceiver.receiver.track.recv()
            first = first or time.monotonic() - began
    httpx.delete(urljoin(url, answer.headers["location"]))
    await connection.close()
    return {
        "first_ms": round(1000 * (first or 0)),
        "offered": re.findall(r"a=candidate:.* (\S+) \d+ typ (\w+)", sdp),
        "answered": re.findall(r"a=candidate:.* (\S+) \d+ typ (\w+)", answer.text),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(play(sys.argv[1], int(sys.argv[2]), sys.argv[3]))))
