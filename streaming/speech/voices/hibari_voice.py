"""Speak with hibari (package hibari-tts, Apache-2.0), a neural voice whose weights come with the package.

One voice of American English, distilled from Kokoro-82M (24 kHz). Measured on one busy core: a second of speech takes
8 ms, the first sentence half a second more, and ten where the package has to come from a busy disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import cached_property
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from streaming.speech.fullband import Samples, whole_sound
from streaming.speech.voices.text_voice import AT_ONCE, USUAL_SPEED, VoiceError, VoiceWish, VoiceWishError

RATE = 24_000
LANGUAGES = ("en", "en-us")
SILENT = 0.01  # full scale is 1; the loudest sample of what the network makes of a text without a word


class HibariVoice:
    """Speak American English (TextVoice)."""

    kind: ClassVar[str] = "hibari"

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(AT_ONCE)

    @property
    def ready(self) -> bool:
        """Return whether the package is installed."""
        return find_spec("hibari") is not None and find_spec("onnxruntime") is not None

    def load(self) -> None:
        """Load the network and speak a word unheard, so that the first sentence takes no longer than later ones."""
        self._synthesised("Hello.", 1.0)

    async def speak(self, sentence: str, wish: VoiceWish) -> AsyncGenerator[Samples]:
        """Yield the sentence in one piece."""
        wish.require_only("language", "speed", by=self.kind)
        if wish.language is not None and wish.language not in LANGUAGES:
            raise VoiceWishError(f"language: hibari speaks {' and '.join(LANGUAGES)}, not {wish.language}")
        async with self._at_once:
            sound = await asyncio.to_thread(self._synthesised, sentence, (wish.speed or USUAL_SPEED) / USUAL_SPEED)
        yield sound

    @cached_property
    def _network(self) -> Any:
        from hibari import Hibari

        return Hibari(threads=1)

    def _synthesised(self, sentence: str, speed: float) -> Samples:
        sound = np.asarray(self._network(sentence, speed=speed), np.float32)
        if not len(sound) or np.abs(sound).max() < SILENT:
            raise VoiceError("hibari returned silence: the text holds no English word")
        return whole_sound(sound, RATE)
