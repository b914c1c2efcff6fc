"""Encode VP8 (RFC 6386) for viewers without H.264, such as Firefox without OpenH264, while there are any."""

from __future__ import annotations

import asyncio
from fractions import Fraction
from functools import partial

import av

from streaming.live.pacing import TICKS
from streaming.media.broadcast import Broadcast
from streaming.media.h264 import KEYFRAME_SECONDS, Picture, bitrate_for, enlargement, frame_of


class Vp8Encoder:
    """Encode one stream of pictures [height, width, 3] with libvpx, without delay.

    Measured on one core of two that were busy: 5 ms for a picture of 256x256, 30 ms for one of 832x480.
    """

    def __init__(self, width: int, height: int, fps: int, bitrate: int) -> None:
        """Open an encoder for this size in pixels, which is enlarged as for H.264, frames and bits a second."""
        scale = enlargement(width, height)
        self._codec = av.CodecContext.create("libvpx", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = width * scale, height * scale, "yuv420p"
        self._codec.framerate, self._codec.time_base = Fraction(fps), Fraction(1, TICKS)
        self._codec.thread_count = 1
        self._codec.bit_rate = bitrate
        self._codec.options = {
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "error-resilient": "default",
            "g": str(2**31 - 1),  # keyframes only where they are asked for
            "minrate": str(bitrate),
            "maxrate": str(bitrate),
            "bufsize": str(round(bitrate * KEYFRAME_SECONDS)),
        }

    def encode(self, picture: Picture, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        """Return the packets of one picture [H, W, 3] RGB; `pts`, in 90 kHz ticks, must grow from picture to picture.

        The first picture becomes a keyframe, and every one with `keyframe`.
        """
        size = self._codec.width, self._codec.height
        return list(self._codec.encode(frame_of(picture, size, pts, keyframe=keyframe)))


class Vp8Stream:
    """Encode a film once more, only while its broadcast has viewers."""

    def __init__(self, fps: int) -> None:
        """Begin without viewers, and without an encoder."""
        self.broadcast = Broadcast()
        self._fps = fps
        self._encoder: Vp8Encoder | None = None

    async def send(self, picture: Picture, pts: int, *, cut: bool) -> None:
        """Encode a picture [H, W, 3] RGB on another thread, and send it; do nothing without viewers.

        The first picture after a cut, the first for a new viewer and one after a loss become keyframes.
        """
        if not len(self.broadcast):
            self._encoder = None
            return
        if self._encoder is None:
            height, width, _ = picture.shape
            self._encoder = Vp8Encoder(width, height, self._fps, bitrate_for(width, height, self._fps))
        keyframe = cut or self.broadcast.keyframe_wanted
        encode = partial(self._encoder.encode, picture, pts, keyframe=keyframe)
        for packet in await asyncio.get_running_loop().run_in_executor(None, encode):
            self.broadcast.send(packet)
