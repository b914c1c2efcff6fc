"""Store which takes are to be rendered in the background and what became of it, for the server after a killed one.

A file `ID.render.json` lies beside each take that was rendered. How far a render is stands in its own journal.
"""

from __future__ import annotations

import logging
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.checkpoints.synced_files import write_whole
from streaming.take.archive import Archive

Kept = Literal["asked", "done", "cancelled", "failed"]  # asked: it waits or is being rendered

log = logging.getLogger(__name__)


class RenderRecord(BaseModel):
    """Hold what was asked for and what became of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Kept
    asked: float  # when, in seconds since 1970: renders are begun in this order
    model: str
    chunks: int = Field(ge=1)  # in all
    why: str = ""  # one line, of a render that failed
    begun_at: int = Field(0, ge=0)  # chunks that were done when its process was last started
    tries: int = Field(0, ge=0)  # servers in a row that were killed after they had started it, before a chunk was added


class RenderRecords:
    """Read and write the records of an archive's takes."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def write(self, name: str, record: RenderRecord) -> None:
        """Write the record of a take, synced; OSError if the disk does not take it."""
        write_whole(self._archive.folder / f"{name}.render.json", record.model_dump_json().encode())

    def read(self) -> dict[str, RenderRecord]:
        """Return all records by take, in the order in which the renders were asked for; damaged ones are left out."""
        found: dict[str, RenderRecord] = {}
        for path in self._archive.folder.glob("*.render.json"):
            name = path.name.partition(".")[0]
            if re.fullmatch(r"[0-9a-f]{12}", name) is None or self._archive.file(path.name) is None:
                continue
            try:
                found[name] = RenderRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                log.warning("%s cannot be read; the take can be rendered again", path.name)
        return dict(sorted(found.items(), key=lambda item: item[1].asked))
