"""Define what reads a text aloud for an avatar, and the voice that is always offered: espeak-ng."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import ClassVar, Protocol

from models.errors import ErrorKind, UserError
from models.pocket.world.portrait import tts
from streaming.speech.fullband import Samples, whole_sound

AT_ONCE = 2  # sentences synthesised at the same time by the voices that use this machine's processor
USUAL_SPEED = 160  # words a minute that a voice speaks unless it is asked for another speed


class VoiceError(UserError):
    """Report a program or server that did not speak a text, in one line for a person."""

    kind = ErrorKind.BAD_GATEWAY


class VoiceWishError(UserError):
    """Report a wish that the chosen voice cannot fulfil."""


@dataclass(frozen=True)
class VoiceWish:
    """Hold how a text is to be spoken; None leaves the choice to the voice."""

    language: str | None = None  # such as en-gb
    voice: str | None = None  # by its name
    speed: int | None = None  # words a minute, 80…300
    pitch: int | None = None  # 0…99

    def require_only(self, *known: str, by: str) -> None:
        """Raise VoiceWishError if anything is asked for that is not `known` to the voice named `by`."""
        for field, value in asdict(self).items():
            if value is not None and field not in known:
                raise VoiceWishError(f"{field}: this server speaks with {by}, which has no {field} to choose")


class TextVoice(Protocol):
    """Read sentences aloud."""

    kind: ClassVar[str]  # what clients are told of it

    @property
    def ready(self) -> bool:
        """Return whether it can speak now."""
        ...

    def speak(self, sentence: str, wish: VoiceWish) -> AsyncGenerator[Samples]:
        """Yield the sentence's sound, pieces of [samples] int16 at 48 kHz, as they are made.

        Raises VoiceWishError before the first piece, VoiceError or SpeechSynthesisError at any time. Closing the
        generator ends the work.
        """
        ...


class EspeakVoice:
    """Speak with the program espeak-ng, which knows more than a hundred languages (TextVoice)."""

    kind: ClassVar[str] = "espeak-ng"

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(AT_ONCE)

    @property
    def ready(self) -> bool:
        """Return whether the program is installed."""
        return tts.installed()

    async def speak(self, sentence: str, wish: VoiceWish) -> AsyncGenerator[Samples]:
        """Yield the sentence in one piece."""
        usual = tts.Speaker()
        speaker = tts.Speaker(
            wish.language or usual.language,
            wish.voice or usual.variant,
            usual.speed if wish.speed is None else wish.speed,
            usual.pitch if wish.pitch is None else wish.pitch,
        )
        async with self._at_once:
            sound = await asyncio.to_thread(_espeak, sentence, speaker)
        yield sound


def _espeak(sentence: str, speaker: tts.Speaker) -> Samples:
    if speaker.variant not in tts.variants():
        raise tts.SpeechSynthesisError(
            f"espeak-ng has no voice {speaker.variant}; there are f1 to f5, m1 to m8 and those of: "
            "espeak-ng --voices=variant"
        )
    return whole_sound(*tts.synthesised(sentence, speaker))
