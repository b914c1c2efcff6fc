"""Speak a text for the listeners of an avatar while it is synthesised, with a caption for each sentence."""

from __future__ import annotations

import re
from contextlib import aclosing
from itertools import pairwise

import numpy as np

from models.pocket.world.portrait.tts import Speaker, synthesised
from streaming.speech.avatar import Avatar, Place
from streaming.speech.fullband import RATE, Samples, whole_sound
from streaming.speech.utterance import Utterance
from streaming.speech.voices.text_voice import TextVoice, VoiceError, VoiceWish

PAUSE = 0.25  # seconds between two sentences
_SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u3002\uff01\uff1f])[\"')\]\u201d\u00bb]*\s+")


def sentences(text: str) -> list[str]:
    """Split a text after the marks that end its sentences; parts without a letter or digit stay with those before."""
    text = text.strip()
    parts: list[str] = []
    for begin, end in pairwise([0, *(found.end() for found in _SENTENCE_END.finditer(text)), len(text)]):
        part = text[begin:end].strip()
        if parts and not re.search(r"\w", part):
            parts[-1] += f" {part}"
        else:
            parts.append(part)
    return parts


def spoken(text: str, speaker: Speaker) -> Samples:
    """Synthesise a text at 48 kHz with espeak-ng; SpeechSynthesisError if it cannot be spoken."""
    return whole_sound(*synthesised(text, speaker))


async def speak_text(
    avatar: Avatar, utterance: Utterance, place: Place, text: str, voice: TextVoice, wish: VoiceWish
) -> None:
    """Have an avatar speak a text from its first samples on, and return once all of it was synthesised.

    Raises the errors of `TextVoice.speak`, and SpeechQueueError if the avatar is interrupted or too much would wait.
    What was synthesised before an error is spoken.
    """
    begun, whole = False, False
    try:
        for number, sentence in enumerate(sentences(text)):
            heard = False
            async with aclosing(voice.speak(sentence, wish)) as sound:
                async for piece in sound:
                    if not len(piece):
                        continue
                    if not begun:
                        avatar.begin(utterance, place)
                        begun = True
                    if not heard:
                        if number:
                            avatar.add(utterance, np.zeros(round(PAUSE * RATE), np.int16))
                        utterance.caption(sentence)
                        heard = True
                    avatar.add(utterance, piece)
            if not heard:
                raise VoiceError("the voice gave no sound for this text")
        whole = True
    finally:
        if begun:
            avatar.commit(utterance, lost=not whole)
