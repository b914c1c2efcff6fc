"""A broadcast over WebRTC: aiortc takes packets as they are and only packetises them (RFC 6184)."""

from __future__ import annotations

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import MediaStreamError

from streaming.media.broadcast import Broadcast


class PacketTrack(MediaStreamTrack):
    """Gives a broadcast to one viewer as a track. It ends with the broadcast or its connection."""

    def __init__(self, broadcast: Broadcast, kind: str = "video") -> None:
        super().__init__()
        self.kind = kind
        self._broadcast = broadcast
        self._viewer = broadcast.join()
        self.first_pts: int | None = (
            None  # of the first packet: RTP counts from a random number, so a peer must be told
        )

    async def recv(self) -> av.Packet:
        """Return the next packet, once it is sent: the pace is the broadcast's. MediaStreamError at the end."""
        packet = await self._viewer.get()
        if packet is None:
            self.stop()
            raise MediaStreamError("the broadcast is over")
        if self.first_pts is None:
            self.first_pts = packet.pts
        return packet

    def stop(self) -> None:
        self._broadcast.leave(self._viewer)
        super().stop()


def send_video(connection: RTCPeerConnection, broadcast: Broadcast) -> PacketTrack:
    """Join a broadcast and send it to a peer whose offer is yet to be taken; the viewer leaves with the connection.

    Call it before `setRemoteDescription`: codec preferences set later have no effect on an answer. Only H.264 is
    accepted, as the packets are nothing else; with a peer that has none `setRemoteDescription` raises aiortc's
    OperationError.
    """
    track = PacketTrack(broadcast)
    transceiver = connection.addTransceiver(track, direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType in ("video/H264", "video/rtx")])
    # where the peer's PLI or FIR arrives; aiortc's own answer concerns its own encoder, which encodes nothing here
    transceiver.sender._send_keyframe = broadcast.request_keyframe  # type: ignore[method-assign]
    _leaves_with(connection, track)
    return track


def send_sound(connection: RTCPeerConnection, broadcast: Broadcast, *, hears: bool) -> None:
    """Send the broadcast of a film's sound (Opus) as `send_video` does its pictures, in the same stream, so that a
    browser keeps them together. With `hears` the peer may send its microphone the other way.
    """
    track = PacketTrack(broadcast, "audio")
    transceiver = connection.addTransceiver(track, direction="sendrecv" if hears else "sendonly")
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
    _leaves_with(connection, track)


def _leaves_with(connection: RTCPeerConnection, track: PacketTrack) -> None:
    @connection.on("connectionstatechange")
    def leave() -> None:
        # a sender that never started does not stop its track
        if connection.connectionState in ("closed", "failed"):
            track.stop()
