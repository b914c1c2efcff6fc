"""The journal of a take, live or rendered: one JSON object a line, appended as it happens, so that a kill loses little.

A journal begins with a `take` line, which has the format's version, and ends with an `end` line if nothing cut it off.
Between them stand a `chunk` line for every chunk, with the cues that landed on it before it, and a `checkpoint` line
where a render can go on: what such a line speaks of is on the disk before the line is. An `intent` line tells what a
render was asked for, so that it is finished as it was asked for after a kill. Journals of version 1 are read as well:
they had no version, a render's told of its cues by their `repr` in the chunk lines, and of its take in the `take` line
itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from models.checkpoints.synced_files import AppendedFile, write_whole
from streaming.take.take_file import CueLine, Take

VERSION: Final = 2
Count = Annotated[int, Field(ge=0)]
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
    first: Count
    latents: Annotated[int, Field(ge=1)] | None = None  # a render did not tell in version 1
    hash: str
    disagreement: float | None = None  # with the knot that it took up
    seconds: dict[str, float] | None = None
    landed: tuple[str, ...] | None = None  # version 1: repr of the cues


class CheckpointLine(_Line):
    """Tells where a render can go on: its film ends with a whole fragment there."""

    type: Literal["checkpoint"]
    latent: Count
    offset: Count  # bytes of the film
    fragments: Count
    frames: Count
    digest: str | None = None  # BLAKE2b of the film since the checkpoint before; earlier releases did not tell


class IntentLine(_Line):
    """Tells how long a render is to become, and what made it so, in latents."""

    type: Literal["intent"]
    own: Count  # length that its take had
    length: Count
    more: Count | None = None  # by which it was to become longer than it was
    start: Count | None = Field(default=None, alias="from")  # at which it was to be rendered anew


class RedrawnLine(_Line):
    """Takes back the chunks from a latent on, with their cues: they follow anew."""

    type: Literal["redrawn"]
    at: int = Field(alias="from")


class EndLine(_Line):
    """Ends a journal that was not cut off."""

    type: Literal["end"]


JournalLine = HeadLine | LandedCue | ChunkLine | CheckpointLine | IntentLine | RedrawnLine | EndLine
_LINES: TypeAdapter[JournalLine] = TypeAdapter(Annotated[JournalLine, Field(discriminator="type")])


class Journal:
    """Appends lines to a file."""

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Begin a file, or go on behind the first `keep` bytes of one; OSError as of `write`."""
        self._file = AppendedFile(path, keep=keep)

    @classmethod
    def replacing(cls, path: Path, lines: Iterable[JournalLine]) -> Journal:
        """Begin a file with these lines, synced, in place of what was there, in one move; OSError as of `write`."""
        kept = _text(lines)
        write_whole(path, kept)
        return cls(path, keep=len(kept))

    def write(self, *lines: JournalLine) -> None:
        """Append lines: a kill leaves them, a power cut only after `sync`. OSError if the disk does not take them."""
        self._file.append(_text(lines))

    def sync(self) -> None:
        """Return when all lines are on the disk; OSError if it did not take them."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _text(lines: Iterable[JournalLine]) -> bytes:
    return "".join(line.written() + "\n" for line in lines).encode()


def landed_cue(line: CueLine) -> LandedCue:
    """Return the journal's line for a cue that landed."""
    return LandedCue.model_validate({"type": "cue", **line.model_dump(exclude_defaults=True)})


@dataclass(frozen=True)
class Reading:
    """Holds the lines of a journal as far as they can be trusted."""

    lines: list[JournalLine]
    damage: str = ""  # one line about what could not be read; empty if that is nothing, or the torn end of a kill


def read(path: Path) -> list[JournalLine]:
    """Return every whole line in order; an empty list if there is no journal of a known version."""
    return examine(path).lines


def examine(path: Path) -> Reading:
    """Read a journal up to the first line that is none: what follows a torn or foreign line is not trusted.

    A kill may tear the last line. Anything else, such as zeros or lost blocks after a power cut, is told as damage.
    """
    lines: list[JournalLine] = []
    if not path.exists():
        return Reading(lines)
    data = path.read_bytes()
    begin = 0
    for text in data.split(b"\n"):
        try:
            line = _LINES.validate_json(text)
        except ValidationError:
            break
        if isinstance(line, HeadLine) is bool(lines):  # one begins the journal, and there is no other
            break
        lines.append(line)
        begin += len(text) + 1
    rest = data[begin:]
    torn = lines and b"\n" not in rest and b"\0" not in rest
    return Reading(lines, "" if torn or not rest else _damage(len(lines) + 1, rest))


def _damage(number: int, rest: bytes) -> str:
    what = "is zeros" if not rest.strip(b"\0\n") else "cannot be read"
    return f"line {number} of the journal {what}; it and what follows, {len(rest)} bytes, are left out"
