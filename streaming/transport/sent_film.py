"""Send a session's film to a receiver that is offered it, such as an SFU that has many viewers (RFC 9725)."""

from __future__ import annotations

import asyncio
import re

from aiortc import RTCConfiguration, RTCSessionDescription
from aiortc.rtcconfiguration import RTCBundlePolicy

from streaming.live.session import Session
from streaming.transport.candidates import Candidates
from streaming.transport.connection import CONNECTED_WITHIN, WebRtcConnection
from streaming.transport.ice_restart import RestartableIce
from streaming.transport.offer import OfferError
from streaming.transport.tolerant_transport import tolerate_damage
from streaming.transport.tracks import follow_line, send_sound, send_video
from streaming.transport.viewer_line import ViewerLine

LOOK_EVERY = 0.5  # seconds between two looks whether the receiver is still there
SILENT_SECONDS = 4.0  # without a report, after which a receiver that reported before is taken for gone


_MEDIA_LINE = re.compile(r"m=(video|audio) (\d{1,5})[ /]")  # the kind and the port, 0 of what is rejected


class SoundRefusedError(OfferError):
    """Report a receiver that takes the pictures, and not the sound."""


class SentFilm(WebRtcConnection):
    """Connect one receiver, which counts as a viewer: the film is not encoded for it alone."""

    def __init__(self, session: Session, ice: RTCConfiguration | None = None, *, sound: bool = True) -> None:
        """Prepare a connection; `ice` names the STUN and TURN servers that it uses. `sound` offers the film's sound."""
        servers = ice.iceServers if ice is not None else []
        super().__init__(session, RTCConfiguration(iceServers=servers, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._sound = session.playout.sound if sound else None
        self._line: ViewerLine | None = None

    async def offer(self) -> str:
        """Return an offer of H.264, and Opus where the film has sound, with all candidates."""
        playout, connection = self.session.playout, self.connection
        track = send_video(connection, playout.broadcast)
        self._line = follow_line(connection, track, playout.bitrate, playout.fps)
        if self._sound is not None:
            send_sound(connection, self._sound, hears=False)
        connection.on("connectionstatechange", self._state_changed)
        for transceiver in connection.getTransceivers():
            RestartableIce.of(transceiver.receiver.transport.transport)  # gathers in a second, as of a viewer
        await connection.setLocalDescription(await connection.createOffer())
        self._spawn(self._line.run())
        return str(connection.localDescription.sdp)

    async def accept(self, answer: str, near: str) -> None:
        """Take the answer to the offer, which came from the address `near`, and connect.

        OfferError if it is none that can be used, SoundRefusedError if it rejects the sound alone. Candidates are used
        as `Candidates` says.
        """
        head, *sections = re.split(r"^(?=m=)", answer.replace("\r\n", "\n"), flags=re.MULTILINE)
        kinds = [line[1] if (line := _MEDIA_LINE.match(section)) is not None else "" for section in sections]
        if kinds != (["video", "audio"] if self._sound is not None else ["video"]):
            raise OfferError("the answer does not have the sections of the offer")
        if not _receives(sections[0]):
            raise OfferError("the receiver does not take H.264")
        if self._sound is not None and not _receives(sections[1]):
            raise SoundRefusedError("the receiver does not take the sound")
        usable = Candidates(near or None)
        lines = [line for section in sections for line in _kept(section, usable)]
        try:
            text = "\r\n".join([*head.split("\n")[:-1], *lines, ""])
            await self.connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
        except Exception as e:  # aiortc raises all kinds
            raise OfferError("the answer cannot be used") from e
        for transport in self._secured():
            tolerate_damage(transport)
        self._collect_errors()
        self._spawn(self._leave_unless_connected())

    async def connected(self) -> bool:
        """Return whether a connection comes about; it is waited for."""
        try:
            async with asyncio.timeout(CONNECTED_WITHIN):
                while not self.gone.is_set() and self.connection.connectionState != "connected":
                    await asyncio.sleep(LOOK_EVERY / 10)
        except TimeoutError:
            return False
        return not self.gone.is_set()

    async def ended(self) -> str:
        """Wait until the receiver has left or is silent; return which of them in a line for a person."""
        loop, silent_since = asyncio.get_running_loop(), None
        while not self.gone.is_set():
            if self._line is None or not self._line.lost:
                silent_since = None
            elif silent_since is None:
                silent_since = loop.time()
            elif loop.time() - silent_since > SILENT_SECONDS:
                return "the receiver is silent"
            await asyncio.sleep(LOOK_EVERY)
        return "the receiver has closed the connection"


def _receives(section: str) -> bool:
    """Return whether a section of an answer is accepted, and received."""
    line = _MEDIA_LINE.match(section)
    accepted = line is not None and int(line[2]) != 0
    return accepted and re.search(r"^a=(sendonly|inactive)$", section, re.MULTILINE) is None


def _kept(section: str, candidates: Candidates) -> list[str]:
    """Return the lines of a section without the candidates that are not used."""
    kept: list[str] = []
    for line in section.rstrip("\n").split("\n"):
        if not line.startswith("a=candidate:"):
            kept += [line] if line != "a=end-of-candidates" or not candidates.ignored else []
        else:
            kept += [f"a=candidate:{usable}" for usable in candidates.usable([line.removeprefix("a=candidate:")])]
    return kept
