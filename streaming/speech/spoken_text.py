"""Speak a text for the listeners of an avatar."""

from __future__ import annotations

from models.pocket.world.portrait.tts import Speaker, synthesised
from streaming.speech.fullband import Samples, whole_sound


def spoken(text: str, speaker: Speaker) -> Samples:
    """Synthesise a text at 48 kHz with espeak-ng; SpeechSynthesisError if it cannot be spoken."""
    return whole_sound(*synthesised(text, speaker))
