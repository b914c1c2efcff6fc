"""Encode VP8 (RFC 6386) for viewers without H.264, such as Firefox without OpenH264, while there are any."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from functools import partial

import av

from streaming.live.pacing import TICKS, pts_of
from streaming.media.broadcast import Broadcast
from streaming.media.encodes import Encodes, encoded
from streaming.media.h264 import KEYFRAME_SECONDS, Picture, bitrate_for, enlargement, frame_of

LOWER, RAISE = 0.85, 1.6  # of the bitrate for which libvpx is open: it is opened anew at LOWER of less, or above RAISE


class Vp8Encoder:
    """Encode one stream of pictures [height, width, 3] with libvpx, without delay.

    Measured on one core of two that were busy: 5 ms for a picture of 256x256, 30 ms for one of 832x480.
    """

    def __init__(self, width: int, height: int, fps: int, bitrate: int) -> None:
        """Encode this size in pixels, which is enlarged as for H.264, at these frames and bits a second."""
        scale = enlargement(width, height)
        self.width, self.height = width * scale, height * scale
        self._size = (width, height, fps)
        self._opened = bitrate  # bits a second
        self._codec: av.VideoCodecContext | None = None  # opened for the first picture
        self._encoded = 0  # pictures by this codec

    @property
    def bitrate(self) -> int:
        """Return the bits a second that are aimed at, if every frame is encoded."""
        return self._opened

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        # libavcodec gives libvpx no other rate once it is open, and a codec that is opened begins with a keyframe
        if value < self._opened or value > RAISE * self._opened:
            self._opened, self._codec = round(LOWER * value), None

    def another(self, bitrate: int) -> Vp8Encoder:
        """Return an encoder of the same pictures for other bits a second."""
        return Vp8Encoder(*self._size, bitrate)

    def encode(self, picture: Picture, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        """Return the packets of one picture [H, W, 3] RGB; `pts`, in 90 kHz ticks, must grow from picture to picture.

        The first picture becomes a keyframe, every one with `keyframe`, and the first at another bitrate.
        """
        if self._codec is None:
            self._codec, self._encoded = self._open(), 0
        fps = self._size[2]
        # libvpx shares bits by media time; it is told that no frame is left out, so that it shares them as x264 does
        time = pts_of(self._encoded, fps)
        self._encoded += 1
        packets = list(self._codec.encode(frame_of(picture, (self.width, self.height), time, keyframe=keyframe)))
        for packet in packets:
            packet.pts = packet.dts = pts
        return packets

    def _open(self) -> av.VideoCodecContext:
        codec = av.CodecContext.create("libvpx", "w")
        codec.width, codec.height, codec.pix_fmt = self.width, self.height, "yuv420p"
        codec.framerate, codec.time_base = Fraction(self._size[2]), Fraction(1, TICKS)
        codec.thread_count = 1
        codec.bit_rate = self._opened
        codec.options = {
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "error-resilient": "default",
            "g": str(2**31 - 1),  # keyframes only where they are asked for
            "minrate": str(self._opened),
            "maxrate": str(self._opened),
            "bufsize": str(round(self._opened * KEYFRAME_SECONDS)),
        }
        return codec


class Vp8Stream:
    """Encode a film once more, for good lines and slow ones as H.264 is, only while its broadcast has viewers."""

    def __init__(self, fps: int) -> None:
        """Begin without viewers, and without an encoder."""
        self.broadcast = Broadcast()
        self._fps = fps
        self._encodes: Encodes | None = None

    async def send(self, picture: Picture, number: int, *, cut: bool) -> None:
        """Encode frame `number` of the film, [H, W, 3] RGB, on another thread, and send it; do nothing without viewers.

        The first picture after a cut, the first for a new viewer and one after a loss become keyframes.
        """
        if not len(self.broadcast):
            self._encodes = None
            return
        if self._encodes is None:
            height, width, _ = picture.shape
            encoder = Vp8Encoder(width, height, self._fps, bitrate_for(width, height, self._fps))
            self._encodes = Encodes(encoder, self.broadcast, self._fps)
        jobs = self._encodes.due(number, cut=cut, recording=False, recording_waits=False)
        encode = partial(encoded, jobs, picture, pts_of(number, self._fps))
        for source, packet in await asyncio.get_running_loop().run_in_executor(None, encode):
            self.broadcast.send(packet, source)
