"""Show a render's progress as a bar in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from streaming.render_job import Job
from streaming.render_report import Report
from streaming.rollout import Boundary


@contextmanager
def shown(job: Job) -> Iterator[Callable[[Boundary, Report], None]]:
    """Show the bar, and give the function that `Job.run` calls after every chunk."""
    columns = (
        TextColumn("{task.completed}/{task.total} chunks"),
        BarColumn(),
        TextColumn("{task.fields[fps]:.0f} fps"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[prompt]}"),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("render", total=job.chunks, fps=0.0, prompt="")

        def step(boundary: Boundary, report: Report) -> None:
            first = boundary.first
            prompts = [e.prompt for at, e in job.take.landing(job.grid, job.fps) if at <= first and e.prompt]
            bar.update(task, completed=job.grid.number(first) + 1, fps=report.as_json()["fps"], prompt=prompts[-1][:60])

        yield step
