"""Receive a microphone over WebRTC, and convert its sound to 48 kHz mono."""

from __future__ import annotations

from collections.abc import Callable

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streaming.speech.fullband import RATE, Samples


async def listen(track: MediaStreamTrack, hear: Callable[[Samples], None]) -> None:
    """Call `hear` with each piece ([samples] int16, 48 kHz mono) until the track ends; a muted track may send none."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        frame.pts = None  # time stamps jump after a pause of the sender; pieces are joined without a gap
        for piece in resampler.resample(frame):
            hear(piece.to_ndarray()[0])
