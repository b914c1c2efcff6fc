"""Read the files in which earlier releases stored which takes are to be rendered in the background.

A file `ID.render.json` lay beside each take that was rendered. What it says is moved to the table of jobs.
"""

from __future__ import annotations

import logging
import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.checkpoints.synced_files import remove
from models.errors import UserError
from streaming.job_table import JobRecord, JobTable
from streaming.take.archive import Archive
from streaming.take.take_file import load

log = logging.getLogger(__name__)


class RenderRecord(BaseModel):
    """Hold what such a file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: Literal["asked", "done", "cancelled", "failed"]
    asked: float  # when, in seconds since 1970
    model: str
    chunks: int = Field(ge=1)  # in all
    why: str = ""  # one line, of a render that failed
    begun_at: int = Field(0, ge=0)  # chunks that were done when its process was last started
    tries: int = Field(0, ge=0)  # servers in a row that were killed before a chunk was added


def move_to_table(archive: Archive, table: JobTable) -> None:
    """Move what the files say to the table, and delete them; damaged ones are left where they are, with a warning.

    A job that the table has already is kept: a kill came between the two steps. OSError if the disk refuses.
    """
    known = {job.name for job in table.read()}
    for path in archive.folder.glob("*.render.json"):
        name = path.name.partition(".")[0]
        if re.fullmatch(r"[0-9a-f]{12}", name) is None or archive.file(path.name) is None:
            continue
        try:
            record = RenderRecord.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            log.warning("%s cannot be read; the take can be rendered again", path.name)
            continue
        if name not in known:
            table.write(JobRecord(name=name, take=_take(archive, name), **record.model_dump()))
        remove(path)


def _take(archive: Archive, name: str) -> str:
    try:
        return load(archive.take_file(name)).dumped()
    except UserError:
        return ""
