"""Receive a camera over WebRTC, from a page or from a program that publishes by WHIP (RFC 9725)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streaming.media.ingest import Camera
from streaming.transport.codecs import chosen, known
from streaming.transport.connection import WebRtcConnection
from streaming.transport.offer import NotAnswerableError, Offer, OfferError, Use

log = logging.getLogger(__name__)

CAMERA_CODECS = ("h264", "vp8")


class CameraPeer(WebRtcConnection):
    """Connect one publisher whose pictures become the camera of a session; a newer publisher takes its place."""

    async def answer(self, sdp: str) -> str:
        """Return the answer to an SDP offer.

        OfferError if it is no offer, NotAnswerableError if it has no section that sends H.264 or VP8. Sound is
        rejected.
        """
        try:
            offer = Offer(sdp, self.near)
            uses = offer.with_carrier(_uses(offer))
        except OfferError:
            await self.close()
            raise
        for use in uses.values():
            self.connection.addTransceiver(use.section.kind, direction=use.direction)
        self.connection.on("track", self._track_offered)
        return await self._answer(offer, uses)

    def _track_offered(self, track: MediaStreamTrack) -> None:
        if track.kind == "video":
            self._spawn(self._watch(track))

    async def _watch(self, track: MediaStreamTrack) -> None:
        await watch_camera(track, self.session.camera)
        self._spawn(self.close())  # replaced, or no longer sending


def _uses(offer: Offer) -> dict[int, Use]:
    faults: list[str] = []
    for number, section in enumerate(offer.sections):
        if section.kind != "video" or section.direction not in ("sendonly", "sendrecv"):
            continue
        codecs = known(section.formats, section.lines)
        codec, fault = chosen("video", codecs, CAMERA_CODECS), section.fault()
        if codec is not None and fault is None:
            return {number: Use(section, "recvonly", codec)}
        names = ", ".join(list(dict.fromkeys(c.name.upper() for c in codecs))[:8])
        fault = fault or f"it offers {names or 'no codec'}, and this server receives H264 and VP8"
        faults.append(f"media section {section.mid or number}: {fault}")
    wanted = "a camera offers a video section that sends H264 or VP8 (a=sendonly)"
    raise NotAnswerableError(f"this offer cannot be answered: {'; '.join(faults) or wanted}")


async def watch_camera(track: MediaStreamTrack, camera: Camera, controls: Callable[[], bool] = lambda: True) -> None:
    """Put the pictures of a track into a session's camera until the track ends or another one takes its place.

    Pictures that come while `controls` is false are dropped.
    """
    feed = camera.connect()
    try:
        while not feed.replaced:
            frame = await track.recv()
            if isinstance(frame, av.VideoFrame) and controls():
                feed.put(frame)
    except MediaStreamError:
        return
    except ValueError as e:
        log.warning("%s; the camera is disconnected", e)
    finally:
        feed.close()
        track.stop()
