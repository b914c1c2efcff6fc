"""Choose the voice that reads texts for avatars, from the options of `longtake serve`."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import Any

import httpx

from models.errors import UserError
from streaming.speech.fullband import RATES
from streaming.speech.voices.hibari_voice import HibariVoice
from streaming.speech.voices.text_voice import EspeakVoice, TextVoice
from streaming.speech.voices.voice_program import ProgramVoice
from streaming.speech.voices.voice_server import ServerVoice


class VoiceChoiceError(UserError):
    """Report options of a voice that contradict each other, or name one that is not there."""


def voice_of(choice: str, rate: int | None, body: str | None, token: str | None) -> TextVoice:
    """Return the voice with a name, at an http address, or of a command line; VoiceChoiceError if there is none.

    `rate` is in samples a second, `body` a JSON object for an address, `token` the bearer token that it asks for.
    """
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise VoiceChoiceError(f"--voice-rate: {rate} samples a second; a voice has {RATES[0]} to {RATES[1]}")
    if choice.startswith(("http://", "https://")):
        return ServerVoice(_address(choice), rate, _fields(body), token)
    if body is not None:
        raise VoiceChoiceError("--voice-body is for a voice at an http address")
    if choice in (EspeakVoice.kind, HibariVoice.kind) and rate is not None:
        raise VoiceChoiceError(f"--voice-rate: {choice} has a rate of its own; leave it out")
    if choice == EspeakVoice.kind:
        return EspeakVoice()
    if choice == HibariVoice.kind:
        neural = HibariVoice()
        if not neural.ready:
            raise VoiceChoiceError('the voice hibari is not installed; install it with: pip install "longtake[voice]"')
        return neural
    return ProgramVoice(_command(choice), _required(rate))


def _required(rate: int | None) -> int:
    if rate is None:
        raise VoiceChoiceError("--voice: say with --voice-rate how many samples a second the command writes")
    return rate


def _command(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise VoiceChoiceError(f"--voice: {text[:100]!r} is no command line: {e}") from None
    program = shutil.which(words[0]) if words else None
    if program is None:
        raise VoiceChoiceError(
            f"--voice: there is no program {(words or [''])[0][:100]!r}; give espeak-ng, hibari, an http address or "
            "a command line"
        )
    return [program, *words[1:]]


def _address(text: str) -> str:
    try:
        url = httpx.URL(text)
        known = bool(url.host)
    except (httpx.InvalidURL, UnicodeError):  # UnicodeError is that of IDNA
        known = False
    if not known:
        raise VoiceChoiceError(f"--voice: {text[:200]!r} is no address such as http://127.0.0.1:8880/v1/audio/speech")
    return str(url)


def _fields(body: str | None) -> dict[str, Any]:
    try:
        fields = json.loads(body or "{}")
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or "input" in fields:
        raise VoiceChoiceError("""--voice-body must be a JSON object without `input`, such as '{"model": "kokoro"}'""")
    return fields
