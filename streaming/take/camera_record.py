"""Record what a take was given of a camera, and give it again: a camera's pictures themselves are not kept.

A record is a text file of JSON lines, the first of which names the format. Every other line has the latents of one
chunk in float16, in base64, and the motion that lowered its strength; they are all that a chunk takes from a camera, so
a take that is drawn again from them has the same latents. A line that a kill has torn ends the record.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.checkpoints.synced_files import AppendedFile
from models.cue import CueError
from models.errors import UserError
from models.source import Encoded

FORMAT: Final = "longtake camera 1"
SUFFIX = ".camera"


def record_name(take: str, latent: int) -> str:
    """Return the name of the record of a camera that a take followed from a latent on."""
    return f"{take}-{latent}{SUFFIX}"


class RecordError(UserError):
    """Report a file that is no record of a camera, in one line for a person."""


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal["longtake camera 1"]


class _Chunk(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first: Annotated[int, Field(ge=0)]  # frame of the source, from where the take began to follow it
    motion: Annotated[float, Field(ge=0, le=1)]
    shape: tuple[int, int, int, int, int]
    latents: str


class CameraRecorder:
    """Append what chunks were given to a record."""

    def __init__(self, path: Path) -> None:
        """Begin a record; OSError if the disk does not take it."""
        self._file = AppendedFile(path, keep=0)
        self._file.append(_Head(format=FORMAT).model_dump_json().encode() + b"\n")

    def add(self, first: int, given: Encoded) -> None:
        """Append what the chunk from frame `first` of the source on was given; OSError as above."""
        data = given.latents.cpu().contiguous().numpy().tobytes()
        shape: tuple[int, int, int, int, int] = tuple(given.latents.shape)  # type: ignore[assignment]
        line = _Chunk(first=first, motion=given.motion, shape=shape, latents=base64.b64encode(data).decode())
        self._file.append(line.model_dump_json().encode() + b"\n")

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CameraRecord:
    """Give again what chunks were given of a camera."""

    def __init__(self, path: Path, name: str) -> None:
        """Read a record, which errors call `name`; RecordError if the file is none. `torn` tells if it is cut short."""
        self._name = name
        self._chunks: dict[int, Encoded] = {}
        self.torn = False
        with path.open("rb") as file:
            try:
                _Head.model_validate_json(file.readline(1000))
            except ValidationError:
                raise RecordError(f"{name}: not a record of a camera, as a session writes it") from None
            for text in file:
                try:
                    self._add(_Chunk.model_validate_json(text))
                except (ValidationError, ValueError, binascii.Error):
                    self.torn = True  # by a kill: what follows is not trusted
                    break

    def _add(self, line: _Chunk) -> None:
        values = np.frombuffer(base64.b64decode(line.latents, validate=True), np.float16)
        if not np.isfinite(values).all():
            raise ValueError("latents that are no numbers")
        self._chunks[line.first] = Encoded(torch.from_numpy(values.reshape(line.shape).copy()), line.motion)

    def before(self, frames: int) -> dict[int, Encoded]:
        """Return what was given of the first `frames` frames, by the frame at which each chunk began."""
        return {first: given for first, given in self._chunks.items() if first < frames}

    def given(self, first: int, shape: tuple[int, ...]) -> Encoded:
        """Return what the chunk from frame `first` of the source on was given, latents of this shape.

        CueError behind the record's end, or if it was recorded for a take of another size or model.
        """
        if first not in self._chunks:
            raise CueError(f"{self._name}: the record of the camera ends before its frame {first}; shorten the take")
        if self._chunks[first].latents.shape != shape:
            found = tuple(self._chunks[first].latents.shape)
            raise CueError(f"{self._name}: was recorded for another take: latents of {found} instead of {shape}")
        return self._chunks[first]
