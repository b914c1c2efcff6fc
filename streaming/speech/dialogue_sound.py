"""Speak the turns of a dialogue one after another, as one sound and as what each speaker alone says."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.driving_signal import RATE
from models.pocket.world.portrait.tts import Speaker, SpeechSynthesisError, variants
from streaming.speech import fullband
from streaming.speech.audio_file import Levelling, Sound
from streaming.speech.dialogue_file import Dialogue, DialogueError
from streaming.speech.fullband import REACH, TIMES, Samples, driving_samples, quantised
from streaming.speech.soundtrack import as_sound
from streaming.speech.spoken_text import spoken

LEAD = RATE // 2  # samples of silence before the first turn, in which the faces come to rest
GAP = RATE // 4  # between two turns; people leave 0.2 s in conversation (Stivers et al., PNAS 2009)
TAIL = 3 * RATE // 4  # after the last
TOLD = 20  # turns between two reports of the progress
MOST_SAMPLES = 2 * 3600 * RATE

Voices = Callable[[str, Speaker], Samples]  # speaks a text at 48 kHz


@dataclass(frozen=True)
class SpokenTurn:
    """Hold a turn as it sounds: the speaker's index, where it begins in samples at 16 kHz, and the speech at 48 kHz."""

    role: int
    begin: int
    voice: Samples  # [3 n]

    @property
    def end(self) -> int:
        """Return where it ends, in samples at 16 kHz."""
        return self.begin + len(self.voice) // TIMES

    @property
    def driving(self) -> Sound:
        """Return the sound that drives the mouth, [n] at 16 kHz, −1…1."""
        return as_sound(driving_samples(self.voice, np.zeros(REACH, np.int16)))


@dataclass(frozen=True)
class DialogueSound:
    """Hold the turns of a dialogue in time; they do not overlap."""

    turns: tuple[SpokenTurn, ...]

    @property
    def samples(self) -> int:
        """Return the length in samples at 16 kHz, with the silence around the turns."""
        return self.turns[-1].end + TAIL

    @property
    def name(self) -> str:
        """Return 16 hexadecimal digits that differ where a mouth hears something else (BLAKE2b, RFC 7693)."""
        digest = hashlib.blake2b(digest_size=8)
        for turn in self.turns:
            digest.update(f"{turn.role} {turn.begin} {len(turn.voice)} ".encode() + turn.voice.tobytes())
        return digest.hexdigest()

    def pieces(self, role: int) -> Iterator[Sound]:
        """Yield what drives the mouth of a speaker: the own turns, and silence while others speak.

        Pieces of up to a second, 16 kHz mono, −1…1, follow each other from the start to the end.
        """
        at = 0
        for turn in self.turns:
            if turn.role == role:
                yield from _silence(turn.begin - at)
                yield from np.split(turn.driving, range(RATE, turn.end - turn.begin, RATE))
                at = turn.end
        yield from _silence(self.samples - at)

    def shown(self) -> list[tuple[int, int]]:
        """Return (sample, speaker) of every change of speaker, from (0, the first): half-way through the silences."""
        changes = [(0, self.turns[0].role)]
        for before, turn in zip(self.turns, self.turns[1:], strict=False):
            if turn.role != before.role:
                changes.append((max(turn.begin - GAP // 2, (before.end + turn.begin) // 2), turn.role))
        return changes

    def write(self, path: Path) -> None:
        """Write what all say as a WAV file: 48 kHz mono, 16 bit."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(fullband.RATE)
            at = 0
            for turn in self.turns:
                file.writeframes(bytes(2 * TIMES * (turn.begin - at)) + turn.voice.astype("<i2").tobytes())
                at = turn.end
            file.writeframes(bytes(2 * TIMES * (self.samples - at)))


def spoken_dialogue(
    dialogue: Dialogue, name: str, said: Callable[[str], None], voices: Voices = spoken
) -> DialogueSound:
    """Have every turn of the dialogue in the file `name` spoken; `said` is called with the progress in words.

    The voices are brought to the level of speech, each by one factor for all of its turns. Raises DialogueError with
    the line of a turn whose voice does not exist, that cannot be spoken, or with which the dialogue becomes too long.
    """
    known = variants() if voices is spoken else None
    for role in dialogue.roles:
        if known is not None and role.voice.variant not in known:
            raise DialogueError(
                f"{name}:{role.line}: espeak-ng has no variant {role.voice.variant!r}; "
                "there are f1 to f5, m1 to m8 and those of: espeak-ng --voices=variant"
            )
    sounds: list[Samples] = []
    levels = [Levelling() for _ in dialogue.roles]
    total = LEAD
    for number, turn in enumerate(dialogue.turns, 1):
        if number % TOLD == 0:
            said(f"speaking turn {number} of {len(dialogue.turns)}")
        try:
            sounds.append(_whole(voices(turn.text, dialogue.roles[turn.role].voice)))
        except SpeechSynthesisError as e:
            raise DialogueError(f"{name}:{turn.line}: {e}") from e
        levels[turn.role].add(as_sound(driving_samples(sounds[-1], np.zeros(REACH, np.int16))))
        total += len(sounds[-1]) // TIMES + (GAP if turn.pause is None else round(turn.pause * RATE))
        if total > MOST_SAMPLES:
            raise DialogueError(f"{name}:{turn.line}: the dialogue becomes longer than 2 hours; split it")
    turns: list[SpokenTurn] = []
    for turn, sound in zip(dialogue.turns, sounds, strict=True):
        gap = GAP if turn.pause is None else round(turn.pause * RATE)
        begin = turns[-1].end + gap if turns else LEAD
        turns.append(SpokenTurn(turn.role, begin, quantised(np.float32(levels[turn.role].gain) * as_sound(sound))))
    return DialogueSound(tuple(turns))


def _whole(voice: Samples) -> Samples:
    """Return a voice with silence behind it: what its driving samples still depend on, in whole samples of theirs."""
    return np.pad(voice, (0, REACH + -len(voice) % TIMES))


def _silence(samples: int) -> Iterator[Sound]:
    for begin in range(0, samples, RATE):
        yield np.zeros(min(RATE, samples - begin), np.float32)
