"""Receive a microphone over WebRTC, and convert its sound to 48 kHz mono."""

from __future__ import annotations

from collections.abc import Callable

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streaming.speech.fullband import RATE, Samples

LONGEST_LOSS = 0.5  # seconds of sound that may be missing between two frames; more is a pause of the sender


async def listen(track: MediaStreamTrack, hear: Callable[[Samples], None]) -> None:
    """Call `hear` with each piece ([samples] int16, 48 kHz mono) until the track ends; a muted track may send none.

    Where packets were lost there is silence of the same length: the echo canceller compares this sound with what was
    played at its time. After a pause of the sender its next sound follows without a gap.
    """
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    due: int | None = None  # time stamp of the next frame if none is lost
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if not isinstance(frame, av.AudioFrame):
            raise TypeError(f"the track of a microphone gave {type(frame).__name__}, not sound")
        if due is not None and frame.pts is not None and 0 < frame.pts - due <= LONGEST_LOSS * frame.sample_rate:
            hear(np.zeros((frame.pts - due) * RATE // frame.sample_rate, np.int16))
        due = frame.pts + frame.samples if frame.pts is not None else None
        frame.pts = None
        for piece in resampler.resample(frame):
            hear(piece.to_ndarray()[0])
