"""Write and read the journal of a take, live or rendered: JSON lines, appended at once, so that a kill loses little.

A journal begins with a `take` line, which has the format's version, and ends with an `end` line if nothing cut it off.
Between them stand a `chunk` line for every chunk, with the cues that landed on it before it, and a `checkpoint` line
where a render can go on; the film and the snapshot are on the disk before that line is. An `intent` line says how long
a render was asked to be, so that it gets that length after a kill. Journals of version 1 are read as well: they have no
version, and a render's journal has the cues as their `repr` in the chunk lines, and the facts of the render in the
`take` line itself.
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
    """Hold the values in which two renders must agree for one to go on with the frames of the other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    size: tuple[int, int]  # width and height of the pictures, before they are enlarged
    scale: int  # factor by which they are enlarged
    heard: str | None = None  # names the sound that drives it
    portrait: str | None = None  # names the picture that it stays true to
    layout: str | None = None  # how several faces are shown
    upscaler: str | None = None  # identifies the file of the network that enlarges them instead
    background: str | None = None  # colour behind the faces
    noise: Literal["torch", "philox"] = "torch"  # what draws it; earlier releases had one alone
    part: tuple[int, int, int] | None = None  # of a film that is drawn in parts: `streaming.film_parts.FilmPart.facts`


class HeadLine(_Line):
    """Begin a journal: version, take and record."""

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
        """Move the facts of a render from the head of version 1 to `render`, where version 2 has them."""
        if not isinstance(data, dict) or "seed" not in data:
            return data
        facts = {k: data[k] for k in ("seed", "size", "scale", "heard") if k in data}
        return {k: v for k, v in data.items() if k not in facts} | {"render": facts}


class LandedCue(CueLine):
    """Record a cue that landed on the next chunk of the journal."""

    type: Literal["cue"]

    def written(self) -> str:
        """Return the line as it stands in the file, without its end."""
        return self.model_dump_json(exclude_defaults=True)

    def cue(self) -> CueLine:
        """Return the cue itself."""
        return CueLine.model_validate(self.model_dump(exclude={"type"}))


class ChunkLine(_Line):
    """Record a chunk that reached its boundary."""

    type: Literal["chunk"]
    first: Count
    latents: Annotated[int, Field(ge=1)] | None = None  # missing in a render's journal of version 1
    hash: str
    disagreement: float | None = None  # between the chunk and the knot that was fused into it
    seconds: dict[str, float] | None = None
    landed: tuple[str, ...] | None = None  # version 1: repr of the cues


class CheckpointLine(_Line):
    """Record a latent at which a render can go on, since its film ends with a whole fragment there."""

    type: Literal["checkpoint"]
    latent: Count
    offset: Count  # bytes of the film
    fragments: Count
    frames: Count
    digest: str | None = None  # BLAKE2b of the film since the checkpoint before; missing in earlier releases


class IntentLine(_Line):
    """Record the length that a render is to have, and the options that it comes from, in latents."""

    type: Literal["intent"]
    own: Count  # length of its take
    length: Count
    more: Count | None = None  # latents to add to the film that was there
    start: Count | None = Field(default=None, alias="from")  # latent from which it is to be rendered anew


class RedrawnLine(_Line):
    """Discard the chunks from a latent on, with their cues; they follow anew."""

    type: Literal["redrawn"]
    at: int = Field(alias="from")


class EndLine(_Line):
    """End a journal that was not cut off."""

    type: Literal["end"]


JournalLine = HeadLine | LandedCue | ChunkLine | CheckpointLine | IntentLine | RedrawnLine | EndLine
_LINES: TypeAdapter[JournalLine] = TypeAdapter(Annotated[JournalLine, Field(discriminator="type")])


class Journal:
    """Append lines to the file of a journal."""

    def __init__(self, path: Path, *, keep: int = 0) -> None:
        """Begin a file, or go on after the first `keep` bytes of one; OSError as in `write`."""
        self._file = AppendedFile(path, keep=keep)

    @classmethod
    def replacing(cls, path: Path, lines: Iterable[JournalLine]) -> Journal:
        """Replace a file in one move by one that has these lines and is synced; OSError as in `write`."""
        kept = _text(lines)
        write_whole(path, kept)
        return cls(path, keep=len(kept))

    def write(self, *lines: JournalLine) -> None:
        """Append lines, which survive a kill, and a power cut after `sync`; OSError if the disk does not take them."""
        self._file.append(_text(lines))

    def sync(self) -> None:
        """Wait until all lines are on the disk; OSError if it did not take them."""
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
    """Hold the lines of a journal before its first damaged one."""

    lines: list[JournalLine]
    damage: str = ""  # one line about the part that could not be read; empty if only the last line is torn


def read(path: Path) -> list[JournalLine]:
    """Return the lines before the first damaged one; an empty list if there is no journal of a known version."""
    return examine(path).lines


def examine(path: Path) -> Reading:
    """Read a journal up to the first line that cannot be read: what follows a torn or foreign line is not trusted.

    A kill can tear the last line. All else, such as zeros or lost blocks after a power cut, is reported as damage.
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
        if isinstance(line, HeadLine) is bool(lines):  # a journal has exactly one head, which is its first line
            break
        lines.append(line)
        begin += len(text) + 1
    rest = data[begin:]
    torn = lines and b"\n" not in rest and b"\0" not in rest
    return Reading(lines, "" if torn or not rest else _damage(len(lines) + 1, rest))


def _damage(number: int, rest: bytes) -> str:
    what = "is zeros" if not rest.strip(b"\0\n") else "cannot be read"
    return f"line {number} of the journal {what}; it and what follows, {len(rest)} bytes, are left out"
