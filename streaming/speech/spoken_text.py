"""Speak a text for the listeners of an avatar, with a caption for each sentence."""

from __future__ import annotations

import re

import numpy as np

from models.pocket.world.portrait.tts import Speaker, SpeechSynthesisError, synthesised, variants
from streaming.speech.fullband import RATE, Samples, whole_sound
from streaming.speech.utterance import Utterance

PAUSE = 0.25  # seconds between two sentences
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u3002\uff01\uff1f])[\"')\]\u201d\u00bb]*\s+")


def sentences(text: str) -> list[str]:
    """Split a text after the marks that end its sentences; parts without a letter or digit stay with those before."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(text.strip()):
        if parts and not re.search(r"\w", part):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def spoken(text: str, speaker: Speaker) -> Samples:
    """Synthesise a text at 48 kHz with espeak-ng; SpeechSynthesisError if it cannot be spoken."""
    return whole_sound(*synthesised(text, speaker))


def speak_into(utterance: Utterance, text: str, speaker: Speaker) -> None:
    """Add a text to an utterance, with a caption for each sentence; SpeechSynthesisError if it cannot be spoken."""
    if speaker.variant not in variants():
        raise SpeechSynthesisError(
            f"espeak-ng has no voice {speaker.variant}; there are f1 to f5, m1 to m8 and those of: "
            "espeak-ng --voices=variant"
        )
    for number, sentence in enumerate(sentences(text)):
        sound = spoken(sentence, speaker)
        if number:
            utterance.add(np.zeros(round(PAUSE * RATE), np.int16))
        utterance.caption(sentence)
        utterance.add(sound)
