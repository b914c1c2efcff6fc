"""The journal of a take, live or rendered: one JSON object a line, appended as it happens, so that a kill loses little.

A journal begins with a `take` line, which has the format's version, and ends with an `end` line if nobody cut it off.
Between them stand a `chunk` line for every chunk, with the cues that landed on it before it, and a `checkpoint` line
where a render can go on. Journals of version 1 are read as well: they had no version, a render's told of its cues by
their `repr` in the chunk lines, and of its take in the `take` line itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from streaming.take.take_file import CueLine, Take

VERSION: Final = 2
Record = dict[str, str | int]  # what must be the same for a replay to give the same latents


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str

    def written(self) -> str:
        """Return the line as it stands in the file, without its end."""
        return self.model_dump_json(exclude_defaults=True, by_alias=True)


class RenderFacts(BaseModel):
    """What a render must share with another to go on with its frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    size: tuple[int, int]  # width and height of the pictures, before they are enlarged
    scale: int  # by which they are enlarged
    heard: str | None = None  # names the sound that drives it
    portrait: str | None = None  # names the picture that it stays true to


class HeadLine(_Line):
    """Begins a journal."""

    type: Literal["take"]
    version: Literal[1, 2] = 1
    id: str | None = None  # of a live take
    take: Take | None = None  # as it began
    parent: str | None = None
    record: Record = Field(default_factory=dict)
    render: RenderFacts | None = None

    @model_validator(mode="before")
    @classmethod
    def _version_1(cls, data: Any) -> Any:
        """Put the facts of a render where they stand since version 2."""
        if not isinstance(data, dict) or "seed" not in data:
            return data
        facts = {k: data[k] for k in ("seed", "size", "scale", "heard") if k in data}
        return {k: v for k, v in data.items() if k not in facts} | {"render": facts}


class LandedCue(CueLine):
    """Tells of a cue that landed on the next chunk of the journal."""

    type: Literal["cue"]

    def written(self) -> str:
        """Return the line as it stands in the file, without its end."""
        return self.model_dump_json(exclude_defaults=True)

    def cue(self) -> CueLine:
        """Return the cue itself."""
        return CueLine.model_validate(self.model_dump(exclude={"type"}))


class ChunkLine(_Line):
    """Tells of a chunk that reached its boundary."""

    type: Literal["chunk"]
    first: Annotated[int, Field(ge=0)]
    latents: int | None = None  # a render did not tell in version 1
    hash: str
    disagreement: float | None = None  # with the knot that it took up
    seconds: dict[str, float] | None = None
    landed: tuple[str, ...] | None = None  # version 1: repr of the cues


class CheckpointLine(_Line):
    """Tells where a render can go on: its film ends with a whole fragment there."""

    type: Literal["checkpoint"]
    latent: int
    offset: int  # bytes of the film
    fragments: int
    frames: int


class RedrawnLine(_Line):
    """Takes back the chunks from a latent on, with their cues: they follow anew."""

    type: Literal["redrawn"]
    at: int = Field(alias="from")


class EndLine(_Line):
    """Ends a journal that was not cut off."""

    type: Literal["end"]


JournalLine = HeadLine | LandedCue | ChunkLine | CheckpointLine | RedrawnLine | EndLine
_LINES: TypeAdapter[JournalLine] = TypeAdapter(Annotated[JournalLine, Field(discriminator="type")])


class Journal:
    """Appends lines to a file."""

    def __init__(self, path: Path, *, keep: Iterable[JournalLine] = ()) -> None:
        """Begin the file with the lines to keep, replacing what was there in one move."""
        partial = path.with_suffix(".partial")
        partial.write_text("".join(line.written() + "\n" for line in keep), encoding="utf-8")
        os.replace(partial, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: JournalLine) -> None:
        """Append a line; it is on its way to the disk on return. OSError if the disk does not take it."""
        self._file.write(line.written() + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def landed_cue(line: CueLine) -> LandedCue:
    """Return the journal's line for a cue that landed."""
    return LandedCue.model_validate({"type": "cue", **line.model_dump(exclude_defaults=True)})


def read(path: Path) -> list[JournalLine]:
    """Return every whole line in order; an empty list if there is no journal of a known version.

    A kill may tear the last line, and what follows a torn or foreign line is not trusted: reading ends before it.
    """
    lines: list[JournalLine] = []
    if not path.exists():
        return lines
    for text in path.read_bytes().split(b"\n"):
        try:
            line = _LINES.validate_json(text)
        except ValidationError:
            break
        if isinstance(line, HeadLine) is bool(lines):  # one begins the journal, and there is no other
            break
        lines.append(line)
    return lines
