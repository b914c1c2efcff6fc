"""A microphone over WebRTC: whatever a browser sends becomes 16 kHz mono, piece by piece, until it ends."""

from __future__ import annotations

from collections.abc import Callable

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from models.driving_signal import RATE
from streaming.speech.soundtrack import Samples


async def listen(track: MediaStreamTrack, hear: Callable[[Samples], None]) -> None:
    """Hand over every piece as it comes, until the track ends. A microphone that falls silent may send nothing."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        frame.pts = None  # after a microphone was away its times jump; what comes is simply next
        for piece in resampler.resample(frame):
            hear(piece.to_ndarray()[0])
