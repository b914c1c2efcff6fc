"""Read a sound file of any kind as the 16 kHz mono voice that drives an avatar, piece by piece."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.driving_signal import LEVEL, RATE
from streaming.speech import fullband
from streaming.speech.channel_resampler import Channels
from streaming.speech.fullband import Samples, quantised
from streaming.speech.sound_file import MOST_SECONDS, SoundFile, SpeechError
from streaming.speech.voice_mix import ChannelMeter, ConstantRemover, plain_mix

__all__ = ["RATE", "Levelling", "Sound", "SpeechError", "Voice", "read", "voice_in", "whole"]

FLOOR = -50.0  # dBFS below which no sound counts as speech
FARTHEST = 20.0  # dB that a sound is brought up; it is brought down by as much as it takes

Sound = NDArray[np.float32]  # 16 kHz mono [samples], −1…1


def read(source: Path | BinaryIO) -> Iterator[Sound]:
    """Yield pieces of a sound file, in order, never empty, as they are; of several channels their usual mix.

    Damaged parts are left out. Raises SpeechError if the file cannot be read or holds no sound.
    """
    file = SoundFile(source)
    for block in file.blocks(RATE):
        yield np.clip(plain_mix(file.facts.names) @ block, -1, 1)


@dataclass
class Levelling:
    """Measure piece by piece how loud the speech in a sound is."""

    samples: int = 0
    _energy: float = 0.0  # of the 20 ms blocks that count as speech
    _blocks: int = 0

    def add(self, sound: Sound) -> None:
        """Measure the samples that follow."""
        self.samples += len(sound)
        block = RATE // 50
        self.add_power(np.square(sound[: len(sound) // block * block].reshape(-1, block).astype(np.float64)).mean(1))

    def add_power(self, power: NDArray[np.float64]) -> None:
        """Measure blocks of 20 ms by their mean squares."""
        spoken = power[power > 10 ** (FLOOR / 10)]
        self._energy, self._blocks = self._energy + float(spoken.sum()), self._blocks + len(spoken)

    @property
    def speaks(self) -> bool:
        """Return whether anything was louder than FLOOR."""
        return self._blocks > 0

    @property
    def gain(self) -> float:
        """Return the factor that brings speech to LEVEL; 1 where there is none."""
        if not self._blocks:
            return 1.0
        missing = LEVEL - 10 * math.log10(self._energy / self._blocks)
        return float(10 ** (min(FARTHEST, missing) / 20))


@dataclass(frozen=True)
class Voice:
    """Hold how the voice in a sound file is heard: which channels, how loud, and without a constant."""

    file: SoundFile
    samples: int  # at 16 kHz
    gain: float
    mix: Channels  # [channels], weights
    constant: bool  # whether a constant offset is removed
    name: str  # 16 hexadecimal digits that differ where the mouth hears something else
    notes: tuple[str, ...]  # what a person should know of the file

    def pieces(self, rate: int = RATE) -> Iterator[Sound]:
        """Yield the voice at the level of speech and `rate`, in order, never empty; SpeechError as from `read`."""
        remover = ConstantRemover(rate) if self.constant else None
        for block in self.file.blocks(rate):
            yield from self._levelled(block if remover is None else remover.add(block))
        if remover is not None:
            yield from self._levelled(remover.rest())

    def _levelled(self, block: Channels) -> Iterator[Sound]:
        if block.shape[1]:
            yield np.clip(np.float32(self.gain) * (self.mix @ block), -1, 1)


def voice_in(source: Path | BinaryIO, most_seconds: float = MOST_SECONDS) -> Voice:
    """Read a sound file once and find the voice in it.

    Channels that cancel each other are not added up, a constant offset is removed, and speech is brought to LEVEL.
    Raises SpeechError as `read` does, and for a sound of more than `most_seconds`.
    """
    file = SoundFile(source, most_seconds)
    meter: ChannelMeter | None = None
    digest = hashlib.blake2b(digest_size=8)
    for block in file.blocks(RATE):
        meter = meter or ChannelMeter(file.facts.names)
        meter.add(block)
        digest.update(np.clip(plain_mix(file.facts.names) @ block, -1, 1).tobytes())
    if meter is None:
        raise SpeechError(f"{file.name} is empty")
    meter.finish()
    mix, doubt = meter.mix(10 ** (FLOOR / 10))
    levelling = Levelling()
    levelling.add_power(meter.power(mix))
    notes = [*file.facts.notes(), *doubt]
    if meter.constant:
        notes.append("a constant offset (DC) was removed")
    if not levelling.speaks:
        notes.append(f"no speech was found: the sound is never louder than {FLOOR:.0f} dBFS")
    if doubt or meter.constant:
        digest.update(mix.tobytes() + bytes([meter.constant]))
    named = tuple(f"{file.name}: {note}" for note in notes)
    return Voice(file, meter.samples, levelling.gain, mix, meter.constant, digest.hexdigest(), named)


def whole(source: Path | BinaryIO, most_seconds: float) -> tuple[Samples, tuple[str, ...]]:
    """Return the voice in a sound file at 48 kHz and the level of speech, and notes; SpeechError as `voice_in`."""
    voice = voice_in(source, most_seconds)
    return np.concatenate([quantised(piece) for piece in voice.pieces(fullband.RATE)]), voice.notes
