"""Define what the sender of a sound writes on the WebSocket of an avatar's sound, besides the sound itself."""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models.errors import UserError
from streaming.speech.avatar import Place
from streaming.take.speakers import SpeakerName

NAME = r"^[\w.:-]{1,64}$"  # of an utterance
Name = Annotated[str, Field(pattern=NAME)]
MOST_TEXT = 2000  # characters
MESSAGE_LIMIT = 16_384  # bytes of a message in JSON


class SoundMessageError(UserError):
    """Refuse a message on the sound's socket: a line for a person."""


class StartRefusedError(SoundMessageError):
    """Refuse the start of an utterance; the one before it has ended all the same."""

    utterance: str | None = None  # its name, if that can be read


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class StartMessage(_Message):
    """Begin an utterance; the binary messages that follow are its samples, PCM of 16 bits, little-endian, mono.

    The utterance before it has all its samples then, whether or not this one is refused.
    """

    type: Literal["start"]
    utterance: Name | None = None
    """Name of the utterance, unlike any that is spoken or waits; the server gives it one if it is absent."""
    rate: Literal[16000, 24000, 48000] = 24000
    """Samples a second."""
    queue: Place = Place.APPEND
    """`append`: speak it after those that wait. `replace`: interrupt what is spoken, drop what waits, and speak it."""
    speaker: SpeakerName | None = None
    """Name of the speaker who says it, in a dialogue; the first speaker says it if it is absent."""


class TextMessage(_Message):
    """Tell what the samples that follow say; it comes back as a caption when they are heard."""

    type: Literal["text"]
    text: Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]


class CommitMessage(_Message):
    """End the utterance that was begun: all its samples have been sent."""

    type: Literal["commit"]


class CancelMessage(_Message):
    """Drop an utterance, or interrupt it if it is being spoken; others that wait are spoken."""

    type: Literal["cancel"]
    utterance: Name | None = None
    """The one that was begun last, if absent."""


class ClearMessage(_Message):
    """Drop the utterances that wait; the one that is being spoken goes on to its end."""

    type: Literal["clear"]


class InterruptMessage(_Message):
    """Silence the avatar at once, and drop what waits."""

    type: Literal["interrupt"]
    speaker: SpeakerName | None = None
    """The speaker of a dialogue to silence, while the others go on; all of them, if absent."""


SoundMessage = StartMessage | TextMessage | CommitMessage | CancelMessage | ClearMessage | InterruptMessage
SOUND_MESSAGES: TypeAdapter[SoundMessage] = TypeAdapter(Annotated[SoundMessage, Field(discriminator="type")])


def parse_sound_message(message: str) -> SoundMessage:
    """Read a message from JSON of at most MESSAGE_LIMIT bytes; SoundMessageError for anything else."""
    if len(message.encode(errors="replace")) > MESSAGE_LIMIT:
        raise SoundMessageError(f"a message has at most {MESSAGE_LIMIT} bytes")
    try:
        return SOUND_MESSAGES.validate_json(message)
    except ValidationError as e:
        first = e.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(p) for p in first["loc"][1:])
        why = (f"{field}: " if field else "") + first["msg"].removeprefix("Value error, ")
        if first["loc"][:1] != ("start",):
            raise SoundMessageError(why) from None
        refused, name = StartRefusedError(why), json.loads(message).get("utterance")
        if isinstance(name, str) and re.match(NAME, name):
            refused.utterance = name
        raise refused from None
    except (ValueError, RecursionError) as e:
        raise SoundMessageError(str(e).splitlines()[0][:200]) from None
