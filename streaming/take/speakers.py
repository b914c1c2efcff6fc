"""Describe the speakers of a dialogue in a take, and how their faces are shown."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST_SPEAKERS = 6
SPEAKER_NAME = r"^[^\W_](?:[\w .'-]{0,38}[\w.])?$"

LayoutName = Literal["side", "cut"]  # all faces side by side, or the one that speaks
Beside = Annotated[str, Field(pattern=r"^[\w-]{1,60}\.(png|wav)$")]  # a file in the take's own folder


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), so that it is found however its accents were typed."""
    return unicodedata.normalize("NFC", name)


SpeakerName = Annotated[str, Field(pattern=SPEAKER_NAME), AfterValidator(composed)]


class TakeSpeaker(BaseModel):
    """Name a speaker of a dialogue, with the files of the face and of what was said, once there are any."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: SpeakerName
    reference: Beside | None = None
    sound: Beside | None = None


def require_distinct(speakers: Iterable[TakeSpeaker]) -> None:
    """Raise ValueError if two speakers have the same name, case aside."""
    seen: set[str] = set()
    for speaker in speakers:
        if (key := speaker.name.casefold()) in seen:
            raise ValueError(f"speakers: {speaker.name} is named twice")
        seen.add(key)
