"""Connect viewers to a session over WebRTC: one POST with an offer, one answer (RFC 8829, draft-ietf-wish-whep)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiortc import MediaStreamTrack, RTCConfiguration, RTCDataChannel

from streaming.live.session import Session
from streaming.speech.fullband import Samples
from streaming.speech.hearing import RECEIVER_BUFFER
from streaming.speech.microphone import listen
from streaming.transport.camera import CAMERA_CODECS, watch_camera
from streaming.transport.codecs import Codec, chosen, known
from streaming.transport.connection import WebRtcConnection
from streaming.transport.control_channel import FAREWELL_SECONDS, ControlChannel
from streaming.transport.events import LineEvent
from streaming.transport.offer import NotAnswerableError, Offer, OfferError, Section, Use
from streaming.transport.tracks import PacketTrack, follow_line, send_sound, send_video
from streaming.transport.viewer_line import ViewerLine

__all__ = ["BACKLOG", "NotAnswerableError", "OfferError", "Peer"]

log = logging.getLogger(__name__)

BACKLOG = 256 * 1024  # bytes of messages that may wait on a data channel; later ones are dropped, as their numbers show
SLOW_KBIT = 100  # kilobits a second, below which a line is sent the status less often


class Peer(WebRtcConnection):
    """Connect one viewer, who receives the film and exchanges control messages.

    A viewer that controls the session may also send the sound of a microphone to an avatar, and the pictures of a
    camera in a section of their own.
    """

    def __init__(
        self,
        session: Session,
        controls: Callable[[], bool] | None = None,
        ice: RTCConfiguration | None = None,
        near: str | None = None,
    ) -> None:
        """Connect to `session`; `controls` says whether the viewer controls it now (None: the viewer only watches)."""
        super().__init__(session, ice, near)
        self._controls = controls
        self._track: PacketTrack | None = None
        self._channel: ControlChannel | None = None
        self._line_event: LineEvent | None = None  # the newest
        self._line: ViewerLine | None = None
        self._hears_no_more: Callable[[], None] | None = None
        self._listens = self._sees = False  # to the viewer's microphone; the viewer's camera

    async def answer(self, sdp: str) -> str:
        """Return the answer to an SDP offer.

        OfferError if it is no offer, NotAnswerableError if it has no section in which H.264 or VP8 can be sent.
        """
        try:
            offer = Offer(sdp, self.near)
            uses = self._uses(offer)
        except OfferError:
            await self.close()
            raise
        playout = self.session.playout
        for use in uses.values():
            if use.section.kind == "video" and use.direction == "sendonly" and use.codec is not None:
                self._send_film(use.codec)
            elif use.section.kind == "audio" and use.direction != "inactive" and playout.sound is not None:
                send_sound(self.connection, playout.sound, hears=use.direction == "sendrecv")
                if self.session.avatar is not None:
                    self._hears_no_more = self.session.avatar.add_listener(self._hearing_delay)
            elif use.codec is not None:
                self.connection.addTransceiver(use.section.kind, direction=use.direction)
        self.connection.on("track", self._track_offered)
        self.connection.on("datachannel", self._channel_opened)
        return await self._answer(offer, uses)

    def _send_film(self, codec: Codec) -> None:
        """Send the film with this codec, as the viewer's line carries it."""
        playout = self.session.playout
        broadcast = playout.vp8.broadcast if codec.name == "vp8" else playout.broadcast
        self._track = send_video(self.connection, broadcast, codec.name.upper())
        line = self._line = follow_line(self.connection, self._track, playout.bitrate, playout.fps, codec.name.upper())
        line.events.tell = self._line_changed
        self._spawn(line.run())

    def _hearing_delay(self) -> float | None:
        """Return the seconds from the sending of sound to its hearing; None while nothing arrives at the viewer."""
        if self.connection.connectionState != "connected":
            return None
        if self._line is None:
            return RECEIVER_BUFFER
        if self._line.lost:
            return None
        return RECEIVER_BUFFER + (self._line.estimate.round_trip or 0.0) / 2

    def left(self) -> None:
        """End the control channel, and count as a listener no more."""
        if self._hears_no_more is not None:
            self._hears_no_more()
        if self._channel is not None:
            self._channel.close()

    # -- sections ---------------------------------------------------------------------------------------------------

    def _uses(self, offer: Offer) -> dict[int, Use]:
        """Return what is done with the sections of an offer, by their numbers; the others are rejected.

        Each of film, sound, camera and control channel gets the first section that suits it.
        """
        uses: dict[int, Use] = {}
        taken: set[str] = set()
        faults: list[str] = []
        for number, section in enumerate(offer.sections):
            part = self._part(section)
            fault = section.fault() if part is not None else None
            codec = _codec(section, part) if part is not None and fault is None else None
            if part == "film" and fault is None and codec is None:
                names = list(dict.fromkeys(c.name.upper() for c in known(section.formats, section.lines)))[:8]
                fault = f"it offers {', '.join(names) or 'no codec'}, and this server sends H264 and VP8"
            if part == "film" and fault is not None:
                faults.append(f"media section {section.mid or number}: {fault}")
            if part is None or part in taken or fault is not None or (codec is None and part != "channel"):
                continue
            taken.add(part)
            uses[number] = Use(section, self._direction(section, part), codec)
        if "film" not in taken:
            wanted = "a player offers a video section that receives H264 or VP8 (a=recvonly)"
            raise NotAnswerableError(f"this offer cannot be answered: {'; '.join(faults) or wanted}")
        return offer.with_carrier(uses)

    def _part(self, section: Section) -> str | None:
        """Return what a section could be used for: film, sound, camera or channel."""
        if section.kind == "application":
            return "channel"
        if section.kind == "audio" and section.receives and self.session.playout.sound is not None:
            return "sound"
        if section.kind == "video":
            if section.receives:
                return "film"
            if section.direction == "sendonly" and self._controls is not None:
                return "camera"
        return None

    def _direction(self, section: Section, part: str) -> str:
        hears = part == "sound" and self._controls is not None and section.direction == "sendrecv"
        return "recvonly" if part == "camera" else "sendrecv" if hears else "sendonly"

    # -- microphone and camera --------------------------------------------------------------------------------------

    def _track_offered(self, track: MediaStreamTrack) -> None:
        """Listen to the microphone and look at the camera of the viewer that controls; others are not read."""
        session, avatar, controls = self.session, self.session.avatar, self._controls
        if controls is None or self.gone.is_set():
            return
        if track.kind == "video" and not self._sees:
            self._sees = True
            self._spawn(watch_camera(track, session.camera, controls))
        if track.kind != "audio" or avatar is None or self._listens:
            return
        self._listens = True

        def hear(sound: Samples) -> None:
            if controls() and not session.over:
                avatar.hear(sound)

        self._spawn(listen(track, hear))

    # -- control --------------------------------------------------------------------------------------------------

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if self._channel is not None or self.gone.is_set():  # a peer has one channel
            channel.close()
            return

        def send(text: str) -> None:
            if channel.readyState == "open" and channel.bufferedAmount < BACKLOG:
                channel.send(text)

        self._channel = ControlChannel(self.session, self._controls, send, self._first_pts)
        channel.on("message", self._channel.receive)
        self._spawn(self._channel.tell_status())
        if self._line_event is not None:  # told before the channel was there
            self._line_changed(self._line_event)
        self._spawn(self._close_when_flooded(self._channel))

    async def _close_when_flooded(self, channel: ControlChannel) -> None:
        await channel.flooded.wait()
        log.info("a viewer sent too many messages and is disconnected")
        await asyncio.sleep(FAREWELL_SECONDS)
        await self.close()

    def _line_changed(self, event: LineEvent) -> None:
        self._line_event = event
        if self._channel is not None:
            self._channel.slow = event.kbit is not None and event.kbit < SLOW_KBIT
            self._channel.tell(event)

    def _first_pts(self) -> int | None:
        return self._track.first_pts if self._track is not None else None


def _codec(section: Section, part: str) -> Codec | None:
    codecs = known(section.formats, section.lines)
    if part == "film":  # H.264 even where VP8 comes first in the offer, as it is encoded anyway
        return chosen("video", codecs, ("h264",)) or chosen("video", codecs, ("vp8",))
    return chosen(section.kind, codecs, {"sound": ("opus",), "camera": CAMERA_CODECS}.get(part, ()))
