"""Encode H.264 without delay: one packet a frame, and a keyframe only when a viewer needs one.

The stream is Constrained Baseline in Annex B with the parameter sets in front of every keyframe: RFC 6184 packetises
it, every browser decodes it, and a viewer can join at any keyframe.
"""

from __future__ import annotations

import math
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from streaming.live.pacing import TICKS

Picture = NDArray[np.uint8]  # [H, W, 3] RGB

SHORT_SIDE = 256  # pixels; pictures with a shorter side are enlarged
KEYFRAME_SECONDS = 0.25  # of the bitrate that a keyframe may take, as packets are not paced and it leaves as one burst


def enlargement(width: int, height: int) -> int:
    """Return the whole factor by which a picture is enlarged before it is encoded.

    4:2:0 halves the resolution of colour, which shows in a picture of 128 pixels. Enlarged twice it keeps all of its
    colour: at the same 300 kbit/s it is 3.4 dB nearer to pocket's world, seen at 512 pixels. The filter is Lanczos
    rather than nearest, because the browser's own filter turns nearest into soft squares (2 dB less) and because the
    video writer uses it too. Browsers decode 128 pixels in software; hardware decoders may not.
    """
    return max(1, math.ceil(SHORT_SIDE / min(width, height)))


def bitrate_for(width: int, height: int, fps: int) -> int:
    """Return the bits a second that suit a film of this size in pixels, before enlargement.

    It is a power law through 300 kbit/s for 128x128 and 3 Mbit/s for 832x480, both at 16 frames a second: a picture
    twice as large does not need twice the bits.
    """
    return round(3_000_000 * (width * height * fps / (832 * 480 * 16)) ** 0.72)


class LiveEncoder:
    """Encode one stream of pictures [height, width, 3] with x264; the encoded size is `self.width` x `self.height`.

    Measured on one core of two that were busy: 2 ms for a picture of 128x128 (enlarged to 256x256).
    """

    def __init__(self, width: int, height: int, fps: int, bitrate: int) -> None:
        """Open an encoder for this size in pixels, frames and bits a second; ValueError if an enlarged side is odd."""
        scale = enlargement(width, height)
        self.width, self.height = width * scale, height * scale
        if self.width % 2 or self.height % 2:
            raise ValueError(f"{width}x{height} cannot be encoded: both sides must be even")
        self._size = (width, height, fps)
        self._shape = (height, width, 3)
        self._codec = av.CodecContext.create("libx264", "w")
        self._codec.width, self._codec.height, self._codec.pix_fmt = self.width, self.height, "yuv420p"
        self._codec.framerate, self._codec.time_base = Fraction(fps), Fraction(1, TICKS)
        self._codec.thread_count = 1
        self._codec.bit_rate = bitrate
        self._codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "maxrate": str(bitrate),
            "bufsize": str(round(bitrate * KEYFRAME_SECONDS)),
            # the matrix of cv2.COLOR_RGB2YUV; without it a player guesses the matrix from the size of the picture
            "x264-params": "keyint=infinite:scenecut=0:colorprim=bt709:transfer=bt709:colormatrix=smpte170m",
        }

    @property
    def bitrate(self) -> int:
        """Return the bits a second that are aimed at, if every frame is encoded."""
        return int(self._codec.bit_rate)

    @bitrate.setter
    def bitrate(self, value: int) -> None:
        # x264 changes its rate between two frames, without a keyframe. The buffer that bounds bursts stays as it was
        # opened, as PyAV gives no access to it.
        self._codec.bit_rate = value

    def another(self, bitrate: int) -> LiveEncoder:
        """Return an encoder of the same pictures for other bits a second."""
        return LiveEncoder(*self._size, bitrate)

    def encode(self, picture: Picture, pts: int, *, keyframe: bool = False) -> list[av.Packet]:
        """Return the packets of one picture [H, W, 3] RGB; `pts`, in 90 kHz ticks, must grow from picture to picture.

        The first picture becomes a keyframe, and every one with `keyframe`. ValueError for another size of picture.
        """
        if picture.shape != self._shape:
            raise ValueError(f"a picture of {picture.shape} in a stream of {self._shape}")
        return list(self._codec.encode(frame_of(picture, (self.width, self.height), pts, keyframe=keyframe)))


def frame_of(picture: Picture, size: tuple[int, int], pts: int, *, keyframe: bool) -> av.VideoFrame:
    """Return a picture [H, W, 3] RGB as a frame of YUV 4:2:0, enlarged to `size`; `pts` is in 90 kHz ticks."""
    width, height = size
    if (height, width) != picture.shape[:2]:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LANCZOS4)
    frame = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
    frame.pts, frame.time_base = pts, Fraction(1, TICKS)
    frame.pict_type = PictureType.I if keyframe else PictureType.NONE
    return frame
