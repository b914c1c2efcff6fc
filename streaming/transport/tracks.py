"""Send a broadcast over WebRTC: aiortc packetises the encoded packets and leaves them as they are (RFC 6184)."""

from __future__ import annotations

import av
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCRtpSender
from aiortc.mediastreams import MediaStreamError

from streaming.media.broadcast import Broadcast
from streaming.transport.viewer_line import ViewerLine


class PacketTrack(MediaStreamTrack):
    """Give a broadcast to one viewer as a track, which ends with the broadcast or the connection."""

    def __init__(self, broadcast: Broadcast, kind: str = "video") -> None:
        """Join `broadcast`, whose packets are of this kind: `video` or `audio`."""
        super().__init__()
        self.kind = kind
        self._broadcast = broadcast
        self.viewer = broadcast.join()
        self.line: ViewerLine | None = None  # what follows the viewer's line, for video
        self.first_pts: int | None = None  # of the first packet; the peer must be told, as RTP time begins at random

    async def recv(self) -> av.Packet:
        """Return the next packet as soon as it is broadcast; MediaStreamError at the end."""
        packet = await self.viewer.get()
        if packet is None:
            self.stop()
            raise MediaStreamError("the broadcast is over")
        if self.first_pts is None:
            self.first_pts = packet.pts
            if self.line is not None:
                self.line.begin()
        if self.line is not None:
            self.line.frame(keyframe=packet.is_keyframe)
        return packet

    def stop(self) -> None:
        """Leave the broadcast and end the track; safe to call again."""
        self._broadcast.leave(self.viewer)
        super().stop()


def send_video(connection: RTCPeerConnection, broadcast: Broadcast, codec: str = "H264") -> PacketTrack:
    """Join a broadcast and send it to a peer; the viewer leaves with the connection.

    Call it before `setRemoteDescription`, as codec preferences that are set later have no effect on an answer. Only
    `codec` is offered, H264 or VP8, because the packets are of it; `setRemoteDescription` raises aiortc's
    OperationError for a peer without it.
    """
    track = PacketTrack(broadcast)
    transceiver = connection.addTransceiver(track, direction="sendonly")
    codecs = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType in (f"video/{codec}", "video/rtx")])
    # PLI and FIR of the peer arrive here; aiortc would pass them to its own encoder, which encodes nothing
    transceiver.sender._send_keyframe = track.viewer.request_keyframe  # type: ignore[method-assign]
    _leaves_with(connection, track)
    return track


def follow_line(
    connection: RTCPeerConnection, track: PacketTrack, bitrate: int, fps: int, codec: str = "H264"
) -> ViewerLine:
    """Send a track as its viewer's line carries it; `ViewerLine.run` is to be run while the connection lasts.

    `bitrate` (bits a second) and `fps` are those of the film where no line is slow; `codec` is H264 or VP8.
    """
    sender = next(sender for sender in connection.getSenders() if sender.track is track)
    track.line = ViewerLine(sender, track.viewer, bitrate, fps, fillers=codec == "H264")
    return track.line


def send_sound(connection: RTCPeerConnection, broadcast: Broadcast, *, hears: bool) -> None:
    """Send the broadcast of a film's sound (Opus) as `send_video` does the pictures.

    Both belong to one media stream, so that a browser keeps them in step. With `hears` the peer may send the sound of
    its microphone the other way.
    """
    track = PacketTrack(broadcast, "audio")
    transceiver = connection.addTransceiver(track, direction="sendrecv" if hears else "sendonly")
    codecs = RTCRtpSender.getCapabilities("audio").codecs
    transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/opus"])
    _leaves_with(connection, track)


def _leaves_with(connection: RTCPeerConnection, track: PacketTrack) -> None:
    @connection.on("connectionstatechange")
    def leave() -> None:
        # aiortc does not stop the track of a sender that never started
        if connection.connectionState in ("closed", "failed"):
            track.stop()
