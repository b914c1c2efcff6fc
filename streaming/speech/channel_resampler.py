"""Convert decoded sound to float32 channels, and resample channels to another rate."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray

LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # by number of channels
POINTERS = 8  # from this many planes of a frame on, PyAV 18 reads beyond the list of their pointers

Channels = NDArray[np.float32]  # [channels, samples], −1…1; float formats may exceed that


class ChannelResampler:
    """Resample channels piece by piece to one rate; with a rate of None, pass them through unchanged."""

    def __init__(self, rate: int | None) -> None:
        self._rate, self._from = rate, rate
        self._resampler: av.AudioResampler | None = None

    def convert(self, sound: Channels, rate: int) -> list[Channels]:
        """Add a sound [channels, samples] of `rate` samples a second, and return what is resampled so far.

        At a change of rate the rest of the earlier sound comes first.
        """
        if self._rate is None:
            return [sound] if sound.shape[1] else []
        out = self.rest() if rate != self._from else []
        if rate != self._from:
            self._from = rate
            layout = LAYOUTS[len(sound)]
            different = rate != self._rate
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self._rate) if different else None
        if self._resampler is None:
            return [*out, sound]
        interleaved = np.ascontiguousarray(sound.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=LAYOUTS[len(sound)])
        frame.sample_rate = rate
        return out + [as_channels(piece, len(sound)) for piece in self._resampler.resample(frame)]

    def rest(self) -> list[Channels]:
        """Return the samples that the filter still holds at the end of a sound; nothing if none."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return []
        return [as_channels(piece, len(piece.layout.channels)) for piece in resampler.resample(None)]


def as_channels(frame: av.AudioFrame, channels: int) -> Channels:
    """Return the samples of a decoded frame as float32 [channels, samples], full scale being −1…1.

    If the frame has another number of channels, each returned channel is the mean of all of them.
    """
    if frame.format.is_planar and len(frame.layout.channels) >= POINTERS:
        packed = av.AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
        (frame,) = packed.resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        sound = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        sound = (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    else:
        sound = values.astype(np.float32)
    return sound if len(sound) == channels else sound.mean(0, keepdims=True).repeat(channels, 0)
