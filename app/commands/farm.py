"""Render many takes at once, each in a process of its own, on this machine or a cluster (`longtake farm`)."""

from __future__ import annotations

import asyncio
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.inputs import require_take
from app.commands.options import (
    CodecOption,
    EngineOption,
    LogLevelOption,
    LoraOption,
    ScaleOption,
    VramOption,
)
from app.commands.outputs import require_folder
from app.device_name import require_device
from app.log_output import LogLevel, configure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.farm_films import FilmOfFarm
    from app.farm_workers import FarmWorkers
    from streaming.farm import Outcome

MOST_WORKERS = 1024
TERMINATED = 128 + signal.SIGTERM  # as a shell tells it


def farm(
    takes: Annotated[
        list[Path], typer.Argument(help="files as `longtake render` reads them; each story of one becomes a film")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the folder of the films, whose names are those of takes")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_WORKERS, help="films at once  [default: one for each GPU, or core of the CPU]"),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="begin films anew that were made with other weights or options")
    ] = False,
    split_at_cuts: Annotated[
        bool, typer.Option("--split-at-cuts", help="draw the scenes of one film apart, where a cut begins them")
    ] = False,
    model: Annotated[str | None, typer.Option(help="another model than the takes name")] = None,
    scale: ScaleOption = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="render on a cluster of Ray: auto (that of this machine) or HOST:PORT"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or one such as cuda:1; with --ray auto, cpu or cuda")
    ] = "auto",
    engine: EngineOption = "auto",
    codec: CodecOption = None,
    vram: VramOption = None,
    lora: LoraOption = None,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Render many takes to films in a folder, several at once.

    The folder is the state: run the command again, and it passes over finished films and goes on with the others.
    """
    configure(log_level)
    if ray is None:
        require_device(device)
    elif find_spec("ray") is None:
        raise CommandError("--ray needs Ray, which is not installed: pip install -e '.[cluster]'")
    for take in takes:
        require_take(take)
    require_folder(out)
    from app.farm_films import FarmOptions, films_of, read_takes, tasks_of

    options = FarmOptions(engine, codec, vram, tuple(lora or ()), scale, model, restart, split_at_cuts)
    at = _workers(device, ray)
    found = read_takes(takes, out.absolute(), options)
    count = min(workers or at.usual, tasks_of(found, options))
    films, finished, failed = films_of(found, options, at, count)
    for film in finished:
        print(f"{film}: was finished before")
    failures = [*found.failures, *failed]
    code = 0
    if films:
        outcomes, code = _run(films, count)
        failures += [f"{o.film.name}: {o.why}" for o in outcomes if o.why]
        finished += [o.film.whole.film for o in outcomes if not o.why]
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    total = len(found.films) + len(found.failures)
    print(f"{len(finished)} of {total} films are finished in {out}")
    if code:
        print("stopped; the same command goes on with the rest", file=sys.stderr)
        raise typer.Exit(code)
    if failures:
        raise CommandError(f"{len(failures)} of {total} films failed; the same command tries them again")


def _workers(device: str, address: str | None) -> FarmWorkers:
    """Return who renders: processes of this machine, or tasks of the cluster at an address."""
    if address is None:
        from app.farm_workers import LocalWorkers

        return LocalWorkers(device)
    from app.ray_workers import RayWorkers
    from app.settings import render_threads

    return RayWorkers(device, address, render_threads() or 1)


def _run(films: Sequence[FilmOfFarm], workers: int) -> tuple[list[Outcome], int]:
    """Render films with so many processes; return what became of them, and the exit code if a signal ended that."""
    from app.progress_bar import counting
    from streaming.farm import Farm

    ended: list[Outcome] = []
    total = sum(task.chunks for film in films for task in (*film.parts, film.whole))
    with counting(total, "chunks") as (progress, say):

        def tell(outcome: Outcome) -> None:
            ended.append(outcome)
            for note in outcome.notes:
                say(f"note: {outcome.film.name}: {note}")
            if not outcome.why:
                say(str(outcome.film.whole.film))

        signals: list[int] = []

        async def run() -> None:
            farming = asyncio.ensure_future(Farm(films, workers, tell).run(progress))

            def stop(number: int) -> None:
                signals.append(number)
                farming.cancel()

            if sys.platform != "win32":
                for number in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(number, stop, number)
            try:
                await farming
            except asyncio.CancelledError:
                if not signals:  # Windows: asyncio itself obeys Ctrl-C
                    raise

        asyncio.run(run())
    return ended, 128 + signals[0] if signals else 0
