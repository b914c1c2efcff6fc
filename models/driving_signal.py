"""Turn speech into the driving signal of an avatar: a few tokens for every latent.

Speech is analysed in frames of the video (25 a second), two columns of log-mel each. A column ends where it stands and
looks back 32 ms, so that features are causal and a stream gives the same features as a whole file. A latent hears the
frames it shows and one more on each side (MoCha, arXiv 2503.23307, on the codec's frame rule): latent 0 shows frame 0
and hears frames 0…1, latent j ≥ 1 shows 4j−3…4j and hears 4j−4…4j+1. Before a take's start, past its end and where
nothing has arrived in time there is silence.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.time_grid import FRAMES_PER_LATENT

Numbers = NDArray[np.float32]

RATE = 16_000  # samples a second, mono
FPS = 25
FRAME = RATE // FPS  # samples of a frame
COLUMNS = 2  # a frame
MELS = 32
HEARD = 6  # frames that a latent hears
TOKENS = HEARD + 1  # one a heard frame, and one of zeros, in whose place the weights have read controls in training
FEATURES = COLUMNS * MELS
LEVEL = -21.0  # dBFS, root mean square of speech: a mouth follows absolute loudness, and this opens it as a speaker's
SILENCE = -1.0  # of a band at or below −80 dBFS; 0 is −40 dBFS, speech peaks near 0.7

_HOP, _WINDOW = FRAME // COLUMNS, 512
_CONTEXT = _WINDOW - _HOP  # samples before a frame that its first column sees
_REDO_SECONDS = 8  # of raw audio kept, as far as `hush` can reach back


def heard_before(latent: int) -> int:
    """Count the samples that the latents before `latent` ≥ 1 hear from the start of a take on.

    They hear one frame beyond those that they show.
    """
    return FRAME * (FRAMES_PER_LATENT * latent - 2)


@lru_cache(maxsize=1)
def _filters() -> NDArray[np.float64]:
    """Return triangular filters of equal width on HTK's mel scale from 60 to 7600 Hz, [257, 32], each of sum 1."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (60, 7600))
    mel = np.linspace(low, high, MELS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    hertz = np.fft.rfftfreq(_WINDOW, 1 / RATE)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    triangles = np.maximum(np.minimum(rising, falling), 0)
    return triangles / triangles.sum(0)


def log_mel(audio: Numbers) -> Numbers:
    """Return features of whole frames of 16 kHz mono sound: [samples] → [samples // 640, 64] float32."""
    return _features(np.concatenate([np.zeros(_CONTEXT), audio]), len(audio) // FRAME)


def _features(audio: NDArray[np.float64], frames: int) -> Numbers:
    """Return features [frames, 64] float32 of `frames` frames, the first of which begins at sample `_CONTEXT`."""
    if frames == 0:
        return np.zeros((0, FEATURES), np.float32)
    starts = np.arange(frames * COLUMNS) * _HOP
    windows = audio[starts[:, None] + np.arange(_WINDOW)] * np.hanning(_WINDOW)
    # a sine of amplitude 1 in the middle of a band of one bin reads 0 dB
    power = (np.abs(np.fft.rfft(windows, axis=1)) / (_WINDOW / 4)) ** 2 @ _filters()
    decibels = 10 * np.log10(np.maximum(power, 1e-8))
    return np.minimum(decibels / 40 + 1, 1.0).reshape(frames, FEATURES).astype(np.float32)


class DrivingSignal:
    """Collect the driving signal of one take.

    Sound is appended as it arrives, and `latents` reads it.
    """

    def __init__(self) -> None:
        self.heard = 0  # samples so far
        self._audio = np.zeros(0)  # the newest of them
        self._speech = np.zeros((0, FEATURES), np.float32)  # of whole frames from `_first` on
        self._first = 0
        self._holds: list[tuple[int, int]] = [(0, 0)]  # (latent, frames by which it and later ones hear later)

    @property
    def ready(self) -> int:
        """Count the latents, from the start of the take, for which all the sound that they hear has arrived."""
        return max(0, (self.heard // FRAME - 2) // FRAMES_PER_LATENT + 1)

    def hear(self, audio: Numbers, at: int | None = None) -> None:
        """Append 16 kHz mono sound [samples], −1…1, that begins at sample `at` of the take; a gap before it is silence.

        Raises ValueError for sound of another shape, with values that are no numbers, or that begins in what is heard.
        """
        if audio.ndim != 1 or not np.isfinite(audio).all():
            raise ValueError(f"sound must be finite and mono [samples], not {audio.shape}")
        gap = 0 if at is None else at - self.heard
        if gap < 0:
            raise ValueError(f"sound begins at sample {at}, but {self.heard} samples have been heard")
        for begin in range(0, gap, RATE):
            self._append(np.zeros(min(RATE, gap - begin)))
        self._append(audio.astype(np.float64))

    def _append(self, audio: NDArray[np.float64]) -> None:
        done = self.heard // FRAME
        self.heard += len(audio)
        self._audio = np.concatenate([self._audio, audio])
        new = self.heard // FRAME - done
        self._speech = np.concatenate([self._speech, _features(self._since(done), new)])
        self._audio = self._audio[-_REDO_SECONDS * RATE :]

    def _since(self, frame: int) -> NDArray[np.float64]:
        """Return the audio from `_CONTEXT` samples before a frame on, with zeros where the take had not begun."""
        back = self.heard - frame * FRAME + _CONTEXT
        return np.concatenate([np.zeros(max(0, back - len(self._audio))), self._audio[-back:]])

    def hush(self, at: int) -> None:
        """Forget the sound from sample `at` on, as if it had never been heard.

        Raises ValueError if that sample is more than eight seconds back or already forgotten.
        """
        if at >= self.heard:
            return
        if at < max(self._first * FRAME, self.heard - _REDO_SECONDS * RATE + FRAME + _CONTEXT):
            raise ValueError(f"sample {at} is too long ago; {self.heard} have been heard")
        self._audio = self._audio[: len(self._audio) - (self.heard - at)]
        self.heard = at
        self._speech = self._speech[: at // FRAME - self._first]

    def mute(self, begin: int, end: int) -> None:
        """Replace the sound from sample `begin` to `end` by silence, for all latents read from now on.

        Raises ValueError as `hush` does.
        """
        end = min(end, self.heard)
        if begin >= end:
            return
        after = self._audio[len(self._audio) - (self.heard - end) :].copy()
        self.hush(begin)
        self._append(np.zeros(end - begin))
        self._append(after)

    def hold(self, latent: int, frames: int) -> None:
        """Have `latent` and later ones hear the sound `frames` frames later; holds from there on are dropped."""
        before = [h for h in self._holds if h[0] < latent] or [(0, 0)]
        self._holds = [*before, (latent, before[-1][1] + frames)] if frames else before

    def held(self, latent: int) -> int:
        """Return by how many frames a latent hears the sound later than it would without holds."""
        return next((frames for start, frames in reversed(self._holds) if start <= latent), 0)

    def forget(self, latent: int) -> None:
        """Release what only latents before `latent` hear, so that memory stays bounded in a take without end."""
        begin = FRAMES_PER_LATENT * (latent - 1) + self.held(latent)
        frame = min(max(self._first, begin), self.heard // FRAME)
        self._speech, self._first = self._speech[frame - self._first :].copy(), frame
        held = max(i for i, (start, _) in enumerate(self._holds) if start <= max(0, latent))
        self._holds = self._holds[held:]

    def latents(self, first: int, n: int) -> Numbers:
        """Return the driving tokens of latents first … first+n−1: [n, 7, 64] float32.

        All of them hear as much later as latent `first` does. Tokens 0…5 are the heard frames in order, token 6 is
        zero. Raises ValueError for forgotten latents.
        """
        held = self.held(first)
        begin, end = FRAMES_PER_LATENT * (first - 1) + held, FRAMES_PER_LATENT * (first + n - 1) + 2 + held
        if max(0, begin) < self._first:
            raise ValueError(f"latent {first} has been forgotten; the first frame kept is {self._first}")
        frames = np.full((end - begin, FEATURES), SILENCE, np.float32)
        low, high = max(0, begin), self._first + len(self._speech)
        if low < high:
            kept = self._speech[low - self._first : end - self._first]
            frames[low - begin : low - begin + len(kept)] = kept
        rest = self._ringing()[max(0, low - high) : max(0, end - high)]
        frames[max(low, high) - begin :][: len(rest)] = rest
        out = np.zeros((n, TOKENS, FEATURES), np.float32)
        for i in range(n):
            out[i, :HEARD] = frames[FRAMES_PER_LATENT * i : FRAMES_PER_LATENT * i + HEARD]
        return out

    def _ringing(self) -> Numbers:
        """Return the features of the two frames after the last whole one, assuming that only silence follows."""
        pending = np.concatenate([self._since(self.heard // FRAME), np.zeros(2 * FRAME)])
        return _features(pending, 2)
