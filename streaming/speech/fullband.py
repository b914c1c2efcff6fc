"""Keep an avatar's voice at 48 kHz, as listeners hear it, and derive from it the 16 kHz that drives the mouth.

The driving samples are a function of the neighbouring samples of the voice alone, computed without rounding before the
last step. So a voice gives the same driving samples in one piece or in many, live and in a render, on every machine.
"""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np
from numpy.typing import NDArray

from models import driving_signal
from models.errors import UserError

RATE = 48_000  # samples a second, mono: all that Opus carries
FRAME = RATE // driving_signal.FPS  # samples of a frame
TIMES = RATE // driving_signal.RATE  # samples of the voice to one that drives the mouth
RATES = (8_000, 48_000)  # samples a second of raw PCM, lowest and highest
REACH = 96  # samples before a sound on which its driving samples depend

Samples = NDArray[np.int16]  # mono [samples]; at 48 kHz unless said otherwise
_UNIT = 1 << 15


class PcmError(UserError):
    """Report, in one line for a person, raw sound of a rate that cannot be used."""


@lru_cache(maxsize=1)
def _kernel() -> NDArray[np.float64]:
    """Return the low-pass filter [REACH + 1] as integers of sum `_UNIT`: a windowed sinc, −6 dB at 7.5 kHz."""
    x = np.arange(REACH + 1) - REACH / 2
    cut = 0.94 / TIMES
    shape = cut * np.sinc(cut * x) * np.hanning(REACH + 3)[1:-1]
    whole = np.rint(_UNIT * shape / shape.sum())
    whole[REACH // 2] += _UNIT - whole.sum()
    return whole


def driving_samples(voice: Samples, before: Samples) -> Samples:
    """Return the 16 kHz samples that a voice [3 n] drives a mouth with, [n] int16, a millisecond late.

    `before` has the REACH samples before the voice. Sums of products of integers are exact in float64, in any order.
    """
    if not len(voice):
        return np.zeros(0, np.int16)
    around = np.concatenate([before, voice]).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(around, REACH + 1)[TIMES - 1 :: TIMES]
    return np.clip(np.rint(windows @ _kernel() / _UNIT), -32768, 32767).astype(np.int16)


class DrivingSamples:
    """Derive driving samples from a voice that arrives piece by piece."""

    def __init__(self) -> None:
        self._held = np.zeros(REACH, np.int16)  # the newest samples that are used up, then those that are not

    def add(self, voice: Samples) -> Samples:
        """Add samples [any number] of the voice, and return the 16 kHz samples that are known by now."""
        held = np.concatenate([self._held, voice])
        end = REACH + (len(held) - REACH) // TIMES * TIMES
        out = driving_samples(held[REACH:end], held[:REACH])
        self._held = held[end - REACH :]
        return out


class PcmReader:
    """Turn raw PCM, 16 bit little-endian, mono, in pieces of any number of bytes, into the voice at 48 kHz."""

    def __init__(self, rate: int) -> None:
        """Read `rate` samples a second; PcmError for fewer than 8000 or more than 48000."""
        if not RATES[0] <= rate <= RATES[1]:
            raise PcmError(f"sound of {rate} samples a second; send {RATES[0]} to {RATES[1]}")
        self.rate = rate
        self.samples = 0  # read, at the given rate
        self._odd = b""  # the first half of a sample
        self._resampler = Resampler(rate)

    def add(self, pcm: bytes) -> Samples:
        """Add bytes, and return the samples at 48 kHz that are known by now."""
        data = self._odd + pcm
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.int16)
        self.samples += len(samples)
        return self._resampler.add(samples)

    def rest(self) -> Samples:
        """Return the samples that are still held, at the end of the sound; half a sample is dropped."""
        return self._resampler.rest()


class Resampler:
    """Resample mono sound piece by piece to 48 kHz, in time with the original; libswresample does it."""

    def __init__(self, rate: int) -> None:
        """Resample from `rate` samples a second."""
        self._rate = rate
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE) if rate != RATE else None

    def add(self, sound: Samples) -> Samples:
        """Add samples at the original rate, and return those at 48 kHz that are known by now."""
        if self._resampler is None or not len(sound):
            return sound
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound)[None], format="s16", layout="mono")
        frame.sample_rate = self._rate
        return _joined(self._resampler.resample(frame))

    def rest(self) -> Samples:
        """Return the samples that the filter still holds; nothing may be added afterwards."""
        return _joined(self._resampler.resample(None)) if self._resampler is not None else _joined([])


def _joined(frames: list[av.AudioFrame]) -> Samples:
    return np.concatenate([np.zeros(0, np.int16), *(frame.to_ndarray()[0] for frame in frames)])


def whole_sound(sound: NDArray[np.float32], rate: int) -> Samples:
    """Return a whole sound [samples], −1…1, of any rate at 48 kHz."""
    resampler = Resampler(rate)
    return np.concatenate([resampler.add(quantised(sound)), resampler.rest()])


def quantised(sound: NDArray[np.float32]) -> Samples:
    """Convert samples of −1…1 to 16 bit."""
    return np.clip(np.round(32768 * sound), -32768, 32767).astype(np.int16)
