"""Keep what an avatar said from the start of its take, for its frames and in a WAV file.

The file (48 kHz mono, 16 bit) is what listeners hear, and the samples that drive the take follow from it exactly, so a
render of it gives the same latents. Earlier takes have files of 16 kHz, whose samples drive the take themselves.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.checkpoints.synced_files import open_no_link
from streaming.speech.audio_file import Sound, read
from streaming.speech.fullband import FRAME, RATE, DrivingSamples, Samples

KEPT = 10 * RATE  # samples in memory; far fewer wait to be played
HEADER = 44  # bytes
UNKNOWN = 0xFFFFFFFF  # size in a header from 4 GiB (12 hours) on, where readers read to the end of the file


class Soundtrack:
    """Keep samples in memory and, with a path, in a WAV file that is valid at any moment."""

    def __init__(self, path: Path | None = None) -> None:
        """Begin with no samples; OSError if the file cannot be begun."""
        self.length = 0  # samples
        self._newest = np.zeros(0, np.int16)
        self._file = os.fdopen(open_no_link(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") if path else None
        self._write(self._newest)

    def add(self, sound: Samples) -> None:
        """Append samples; OSError if they cannot be written, in which case memory still holds them."""
        at, self.length = self.length, self.length + len(sound)
        self._newest = np.concatenate([self._newest, sound])[-KEPT:]
        self._write(sound, at)

    def hush(self, at: int) -> None:
        """Drop the samples from `at` on; the next `add` continues there."""
        back = max(0, self.length - at)
        self._newest = self._newest[: len(self._newest) - back]
        self.length -= back

    def frames(self, first: int, n: int) -> Samples:
        """Return the samples of n frames from frame `first` on, [n, 1920] int16; zeros where none are kept."""
        return self.between(first * FRAME, (first + n) * FRAME).reshape(n, FRAME)

    def between(self, begin: int, end: int) -> Samples:
        """Return the samples from `begin` to `end`; zeros before the take's start and where none are kept."""
        out = np.zeros(end - begin, np.int16)
        held = self.length - len(self._newest)
        low, high = max(begin, held), min(end, self.length)
        if low < high:
            out[low - begin : high - begin] = self._newest[low - held : high - held]
        return out

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, sound: Samples, at: int = 0) -> None:
        """Write samples at position `at`, then a header that counts them, so that a kill leaves a valid file."""
        if self._file is None:
            return
        self._file.seek(HEADER + 2 * at)
        self._file.write(sound.astype("<i2").tobytes())
        self._file.truncate()
        self._file.seek(0)
        self._file.write(header(self.length))
        self._file.flush()


def header(samples: int) -> bytes:
    """Return the RIFF WAVE header [HEADER bytes] of a file of `samples` samples: PCM, 48 kHz mono, 16 bit."""
    size, form = 2 * samples, struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    riff, data = (struct.pack("<I", min(n, UNKNOWN)) for n in (36 + size, size))
    return b"RIFF" + riff + b"WAVEfmt " + form + b"data" + data


def whole_bytes(head: bytes, size: int) -> int:
    """Return how many bytes of a file of `size` bytes belong to the sound by its header `head`; `size` if unknown."""
    data = int.from_bytes(head[-4:], "little")
    return size if len(head) < HEADER or data == UNKNOWN else HEADER + data


def driving_sound(path: Path) -> Iterator[Sound]:
    """Yield the 16 kHz sound that drives a take, from the file of what its avatar said; SpeechError as from `read`."""
    with path.open("rb") as file:
        head = file.read(HEADER)
        if int.from_bytes(head[24:28], "little") == RATE:
            left = whole_bytes(head, path.stat().st_size) - HEADER
            derived = DrivingSamples()
            while piece := file.read(min(left, 2 * RATE)):
                left -= len(piece)
                yield as_sound(derived.add(np.frombuffer(piece[: len(piece) // 2 * 2], "<i2").astype(np.int16)))
            return
    yield from read(path)


def as_sound(samples: Samples) -> Sound:
    """Convert 16-bit samples to −1…1."""
    return samples.astype(np.float32) / np.float32(32768)
