"""Render takes in tests as `longtake render` does with its options, with a tiny, random model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from conftest import tiny_model

from streaming.render_files import RenderFiles
from streaming.render_job import Job
from streaming.render_report import Report
from streaming.render_resume import request_of
from streaming.rollout import Boundary
from streaming.take.take_file import parse

TAKE = "length: {length}\ncues:\n  - prompt: one\n  - at: 9\n    prompt: two\n"
CHUNKS = 2  # in each fragment, so that a short film has several
MODEL = tiny_model()


class KilledError(BaseException):
    """End a render as a kill does."""


def killed_at(chunk: int) -> Callable[[Boundary, Report], None]:
    """Return a progress function that ends a render after its chunk of that number."""

    def progress(boundary: Boundary, report: Report) -> None:
        if boundary.first == 3 * chunk:
            raise KilledError

    return progress


def render(
    folder: Path,
    text: str = TAKE,
    length: int = 21,
    *,
    resume: bool = False,
    restart: bool = False,
    more: int | None = None,
    start: int | None = None,
    progress: Callable[[Boundary, Report], None] = lambda b, r: None,
    made: Callable[[], None] = lambda: None,
) -> Report:
    """Render a take of so many latents to a.mp4; `made` is called once the film is there."""
    files, take = RenderFiles(folder / "a.mp4"), parse(text.format(length=length), "t.yaml")
    goes_on = resume or more is not None or start is not None
    request = request_of(take, MODEL.entry, files, more=more, start=start, anew=not goes_on)
    job = Job(request.take, MODEL, files.out, intent=request.intent, limit=request.limit)
    report = job.run(go_on=goes_on, restart=restart, progress=progress)
    made()
    job.end()
    return report


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder but the lock, which is empty."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
