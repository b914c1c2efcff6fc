"""Sound that drives an avatar: a file, read piece by piece as 16 kHz mono, whatever it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from models.driving_signal import LEVEL, RATE
from models.errors import UserError

# nothing that names other files or addresses, such as a playlist: what is read may have come over the network
KINDS = "wav,w64,aiff,au,caf,mp3,aac,ac3,flac,ogg,matroska,webm,mov,mp4,asf,amr,avi"
FLOOR = -50.0  # dBFS; below it nobody speaks
FARTHEST = 20.0  # dB that a sound is brought up or down

Sound = NDArray[np.float32]  # 16 kHz mono [samples], −1…1


class SpeechError(UserError):
    """Report, in one line for a person, a sound that cannot be used."""


def read(source: Path | BinaryIO) -> Iterator[Sound]:
    """Yield pieces of a sound file of any rate and number of channels, in order, never empty.

    A file that breaks off gives what is there. SpeechError if it cannot be read or holds no sound; it names the path,
    if there is one.
    """
    heard, name = 0, source if isinstance(source, Path) else "the sound"
    try:
        opened = str(source) if isinstance(source, Path) else source
        with av.open(opened, options={"format_whitelist": KINDS}) as container:
            if not container.streams.audio:
                raise SpeechError(f"{name}: holds no sound")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            frames = container.decode(container.streams.audio[0])
            while True:
                try:
                    frame = next(frames, None)
                except FFmpegError:  # the rest is damaged or missing
                    frame = None
                for piece in resampler.resample(frame):
                    samples = np.nan_to_num(piece.to_ndarray()[0].astype(np.float32))
                    if len(samples):
                        heard += len(samples)
                        yield np.clip(samples, -1, 1)
                if frame is None:
                    break
    except (FFmpegError, OSError, ValueError) as e:
        reason = e.strerror if isinstance(e, OSError) and e.strerror else str(e).splitlines()[0]
        why = f" ({reason})" if isinstance(source, Path) else ""
        raise SpeechError(f"{name}: not a sound file that can be read{why}") from e
    if not heard:
        raise SpeechError(f"{name} is empty")


@dataclass
class Levelling:
    """Measures piece by piece how loud the speech in a sound is."""

    samples: int = 0
    _energy: float = 0.0  # of 20 ms blocks in which somebody speaks
    _blocks: int = 0

    def add(self, sound: Sound) -> None:
        self.samples += len(sound)
        block = RATE // 50
        power = np.square(sound[: len(sound) // block * block].reshape(-1, block).astype(np.float64)).mean(1)
        spoken = power[power > 10 ** (FLOOR / 10)]
        self._energy, self._blocks = self._energy + float(spoken.sum()), self._blocks + len(spoken)

    @property
    def gain(self) -> float:
        """Return the factor that brings speech to LEVEL; 1 where there is none."""
        if not self._blocks:
            return 1.0
        missing = LEVEL - 10 * math.log10(self._energy / self._blocks)
        return float(10 ** (max(-FARTHEST, min(FARTHEST, missing)) / 20))


def whole(source: Path | BinaryIO, most_seconds: float) -> Sound:
    """Return a sound [samples] at the level of speech; SpeechError as from `read` and beyond `most_seconds`."""
    levelling, pieces = Levelling(), []
    for piece in read(source):
        levelling.add(piece)
        pieces.append(piece)
        if levelling.samples > most_seconds * RATE:
            raise SpeechError(f"the sound is longer than {most_seconds:.0f} seconds; send it in parts")
    return np.clip(levelling.gain * np.concatenate(pieces), -1, 1).astype(np.float32)
