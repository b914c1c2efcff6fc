"""Receive a published film as a WHIP server does that insists on RFC 9725; it answers httpx without a socket."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import httpx
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtcpPsfbPacket

TOKEN = "of-the-receiver"
ENDPOINT = "http://live.example/whip"


@dataclass
class FilmReceiver:
    """Hold what was published; `refuses` are answers that are given before any offer is taken."""

    refuses: list[httpx.Response] = field(default_factory=list)
    takes_sound: bool = True
    faults: list[str] = field(default_factory=list)  # what a strict receiver finds wrong with requests
    offers: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)  # of the offers
    peers: dict[str, RTCPeerConnection] = field(default_factory=dict)  # by the resource
    ended: list[str] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        """Return what carries httpx's requests here."""
        return httpx.MockTransport(self._answer)

    @property
    def newest(self) -> RTCPeerConnection:
        """Return the connection that was made last."""
        return list(self.peers.values())[-1]

    async def pictures(self, number: int, kind: str = "video") -> None:
        """Return once so many pictures, or frames of sound, have been decoded."""
        (transceiver,) = (t for t in self.newest.getTransceivers() if t.kind == kind)
        for _ in range(number):
            await transceiver.receiver.track.recv()

    async def ask_for_keyframe(self, fmt: int, fci: bytes = b"") -> None:
        """Send feedback on the picture (RFC 4585, RFC 5104)."""
        ssrc = int(re.findall(r"a=ssrc:(\d+) cname", self.offers[-1])[0])  # the next is that of retransmissions
        receiver = self.newest.getTransceivers()[0].receiver
        await receiver._send_rtcp(RtcpPsfbPacket(fmt=fmt, ssrc=1, media_ssrc=ssrc, fci=fci))

    async def close(self) -> None:
        """Vanish, as a receiver that is restarted does."""
        for peer in self.peers.values():
            await peer.close()

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self._note(request.headers.get("authorization") == f"Bearer {TOKEN}", "no token")
        if request.method == "DELETE":
            self.ended.append(request.url.path)
            if (peer := self.peers.get(request.url.path)) is not None:
                await peer.close()
            return httpx.Response(200)
        self._note(request.method == "POST", request.method)
        sdp = request.content.decode()
        self.offers.append(sdp)
        self.addresses.append(str(request.url))
        if self.refuses:
            return self.refuses.pop(0)
        self._check(sdp, request.headers.get("content-type", ""))
        peer = RTCPeerConnection()
        await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        await peer.setLocalDescription(await peer.createAnswer())
        resource = f"/resource/{len(self.peers)}"
        self.peers[resource] = peer
        answer = peer.localDescription.sdp
        if not self.takes_sound:
            answer = re.sub(r"m=audio \d+", "m=audio 0", answer)
        return httpx.Response(
            201, text=answer, headers={"location": f"..{resource}", "content-type": "application/sdp"}
        )

    def _check(self, sdp: str, kind: str) -> None:
        self._note(kind == "application/sdp", f"content type {kind}")
        head, *sections = re.split(r"^(?=m=)", sdp, flags=re.MULTILINE)
        mids = [re.findall(r"^a=mid:(\S+)", section, re.MULTILINE)[0] for section in sections]
        self._note(f"a=group:BUNDLE {' '.join(mids)}\r\n" in head, "no bundle of all sections (4.4.1)")
        for section in sections:
            for line in ("a=sendonly", "a=rtcp-mux", "a=setup:actpass"):  # 4.2
                self._note(f"{line}\r\n" in section, f"no {line}")
        self._note("a=candidate:" in sections[0], "no candidates, although none come later")
        self._note(re.findall(r"^m=(\w+)", sdp, re.MULTILINE)[0] == "video", "no video first")

    def _note(self, right: bool, fault: str) -> None:
        if not right:
            self.faults.append(fault)
