"""Keep the last seconds that a session showed, so that a person can save what was just seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np

from streaming.media.h264 import Picture
from streaming.speech.fullband import Samples

KEPT_SECONDS = 10
QUALITY = 95  # of JPEG, with colours at full resolution: no eye tells it from the picture at this size


@dataclass(frozen=True)
class KeptFrame:
    """Hold a frame that was shown: its picture as a JPEG file, and its sound [1920] int16 at 48 kHz or nothing."""

    jpeg: bytes
    sound: Samples

    def picture(self) -> Picture:
        """Return the picture, [H, W, 3] RGB."""
        decoded = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None, "it was encoded here"
        return np.ascontiguousarray(decoded[..., ::-1], np.uint8)


def kept(picture: Picture, sound: Samples) -> KeptFrame:
    """Compress a picture [H, W, 3] RGB, on any thread; OpenCV lets other threads run meanwhile.

    Measured on one core: 0.3 ms for 128x128 and 7 ms for 832x480; 0.6 ms and 11 to 19 ms where the machine is busy.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, jpeg = cv2.imencode(".jpg", picture[..., ::-1], how)
    return KeptFrame(jpeg.tobytes(), sound)


class RecentFilm:
    """Hold the newest frames of a film, at most KEPT_SECONDS of them.

    They are compressed one by one and not taken from the stream, which has a keyframe only when a viewer needs one,
    and whose rate follows slow lines. Measured for 10 s at 16 frames a second: 1.4 MB of 128x128, and of 832x480 15 MB
    of a film without grain, 68 MB with noise of 10 steps of 256 in it.
    """

    def __init__(self, fps: int) -> None:
        """Keep nothing yet of a film of `fps` frames a second."""
        self.fps = fps
        self._frames: deque[KeptFrame] = deque(maxlen=KEPT_SECONDS * fps)

    def add(self, frame: KeptFrame) -> None:
        """Keep a frame that was shown; the oldest leaves once there are KEPT_SECONDS of them."""
        self._frames.append(frame)

    def last(self, seconds: float) -> list[KeptFrame]:
        """Return the frames of the last seconds, the oldest first, fewer if fewer were shown."""
        return list(self._frames)[-max(1, round(seconds * self.fps)) :]
