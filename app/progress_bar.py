"""Show a render's progress as a bar in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from streaming.render_job import Job
    from streaming.render_report import Report
    from streaming.rollout import Boundary


@contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Show the current step of a long work on standard error, and yield a function that announces the next step.

    A terminal shows one line with the seconds so far; anything else gets a line for each step.
    """
    if not sys.stderr.isatty():
        print(what, file=sys.stderr, flush=True)
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    columns = (SpinnerColumn(_spinner()), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda text: bar.update(task, description=text)


def _spinner() -> str:
    return "dots" if "utf" in (sys.stderr.encoding or "").lower() else "line"


@contextmanager
def counting(total: int, what: str) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """Show a progress bar on standard error; yield functions that tell how much is done, and that print a line.

    Lines that begin with `note: ` go to standard error too. Where that is no terminal there is no bar.
    """

    def say(line: str) -> None:
        print(line, file=sys.stderr if line.startswith("note: ") else sys.stdout, flush=True)

    if not sys.stderr.isatty():
        yield lambda done: None, say
        return
    columns = (TextColumn(f"{{task.completed:.0f}}/{{task.total}} {what}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done), say


@contextmanager
def shown(job: Job) -> Iterator[Callable[[Boundary, Report], None]]:
    """Show a progress bar, and yield the function that `Job.run` calls after every chunk."""
    columns = (
        TextColumn("{task.completed}/{task.total} chunks"),
        BarColumn(),
        TextColumn("{task.fields[fps]:.0f} fps"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[prompt]}", markup=False),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("render", total=job.chunks, fps=0.0, prompt="")

        def step(boundary: Boundary, report: Report) -> None:
            first = boundary.first
            prompts = [e.prompt for at, e in job.take.landing(job.grid, job.fps) if at <= first and e.prompt]
            bar.update(task, completed=job.grid.number(first) + 1, fps=report.as_json()["fps"], prompt=prompts[-1][:60])

        yield step
