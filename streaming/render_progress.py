"""Tell how far background renders are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from streaming.job_table import JobRecord

State = Literal["waiting", "rendering", "held", "done", "cancelled", "failed"]


@dataclass(frozen=True)
class Progress:
    """Tell how far the render of a take is; `film` says whether a finished film of the take is there."""

    state: State
    film: bool
    chunks: int = 0  # in all; 0 for a film that an earlier release rendered
    done: int = 0
    why: str = ""  # one line, of a render that failed or waits for another process


@dataclass
class Render:
    """Hold a job, under way or over."""

    job: JobRecord
    state: State = "waiting"
    why: str = ""
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Return whether the render is done, cancelled or failed."""
        return self.state in ("done", "cancelled", "failed")
