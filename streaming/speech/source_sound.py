"""Carry the sound of the films that a take follows over into its own film."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.time_grid import TimeGrid, frames_before
from streaming.speech.channel_resampler import Channels
from streaming.speech.sound_file import SoundFile, SpeechError
from streaming.take.camera_record import SUFFIX
from streaming.take.footage import TakeFootage
from streaming.take.picture_cue import CAMERA, NOTHING
from streaming.take.take_file import Take

RATE = 48_000  # samples a second of the carried sound, which is in stereo
BLOCK = RATE  # samples of silence that are written at a time


@dataclass(frozen=True)
class Part:
    """Say from which sample to which a take follows a film, whose sound begins there."""

    name: str
    begin: int
    end: int


def parts_of(take: Take, grid: TimeGrid, fps: int, frames: int) -> list[Part]:
    """Return what a film of so many frames carries of the sounds of the films that the take follows, in order."""
    parts: list[Part] = []
    following: tuple[str, int] | None = None

    def stop(at: int) -> None:
        if following is not None and following[1] < at:
            parts.append(Part(*following, at))

    for latent, cue in take.landing(grid, fps):
        at = min(frames_before(latent), frames) * RATE // fps
        if cue.source is not None:
            stop(at)
            following = (cue.source, at) if _is_film(cue.source) else None
    stop(frames * RATE // fps)
    return parts


def write_source_sound(parts: list[Part], footage: TakeFootage, frames: int, fps: int, out: Path) -> list[str]:
    """Write the parts, with silence between them, as a WAV file as long as the film; return notes.

    Nothing is written if no film has sound that can be read.
    """
    notes: list[str] = []
    sounding = [part for part in parts if _sounds(footage.path(part.name), part.name, notes)]
    if not sounding:
        return notes
    with wave.open(str(out), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        at = 0
        for part in sounding:
            _silence(file, part.begin - at)
            at = part.begin
            try:
                begins = footage.begins(part.name)
                for block in _blocks(footage.path(part.name), begins, part.end - part.begin):
                    file.writeframes(block.T.tobytes())
                    at += block.shape[1]
            except SpeechError as e:
                notes.append(f"the sound of {part.name} breaks off: {e}")
        _silence(file, frames * RATE // fps - at)
    return notes


def _is_film(source: str) -> bool:
    return source not in (CAMERA, NOTHING) and not source.endswith(SUFFIX)


def _sounds(path: Path, name: str, notes: list[str]) -> bool:
    """Return whether a film has sound that can be read; a note is added if it has some that cannot."""
    sound = SoundFile(path)
    try:
        with sound.opened():
            pass
    except SpeechError:  # there is none
        return False
    try:
        return next(sound.blocks(RATE), None) is not None
    except SpeechError as e:
        notes.append(f"the sound of {name} is left out: {e}")
        return False


def _blocks(path: Path, begins: float, most: int) -> Iterator[NDArray[np.int16]]:
    """Yield at most so many samples of a film's sound, from its first picture at `begins` s on, as blocks [2, n]."""
    sound, early = SoundFile(path), None
    for block in sound.blocks(RATE):
        if early is None:
            late = round((sound.facts.begins - begins) * RATE)
            early = max(0, -late)  # samples of sound before the first picture
            while late > 0 and most > 0:
                silence = np.zeros((2, min(late, most, BLOCK)), np.int16)
                late, most = late - BLOCK, most - silence.shape[1]
                yield silence
        kept = _stereo(block[:, early : early + most])
        early, most = max(0, early - block.shape[1]), most - kept.shape[1]
        if kept.shape[1]:
            yield (kept.clip(-1, 1) * 32767).astype(np.int16)
        if most <= 0:
            return


def _stereo(block: Channels) -> Channels:
    return block if len(block) == 2 else np.repeat(block.mean(0, keepdims=True), 2, 0)


def _silence(file: wave.Wave_write, samples: int) -> None:
    while samples > 0:
        file.writeframes(bytes(4 * min(samples, BLOCK)))
        samples -= BLOCK
