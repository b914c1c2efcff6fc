"""Return the commands that render takes in processes of their own, the same as in a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streaming.render_files import RenderFiles
from streaming.render_process import Program

if TYPE_CHECKING:
    from app.model_library import ModelLibrary

INSTALLATION = Path(__file__).resolve().parents[1]  # `-m app.supervised` finds this very package from here


def render_program(library: ModelLibrary, model: str, take: Path, film: Path) -> Program:
    """Return `longtake render TAKE -o FILM --resume --restart` on the device and engine that run the model here.

    Files of an earlier run are used if possible, else discarded, which loses nothing: the take determines the film. No
    file of the take is read through a symbolic link.
    """
    command = [sys.executable, "-m", "app.supervised", "render", str(take), "-o", str(film)]
    command += ["--resume", "--restart", "--no-links"]
    command += ["--device", str(library.device), "--engine", library.engine_of_render(model)]
    command += library.fitting.options
    return Program(command, INSTALLATION, {**os.environ, "LONGTAKE_MODELS": str(library.folder.absolute())})


def farm_program(take: Path, film: Path, options: Sequence[str], threads: int | None, models: Path) -> Program:
    """Return `longtake render TAKE -o FILM` with further options, and --resume if there is something to go on with.

    It runs on so many threads (None: as torch has it), unless OMP_NUM_THREADS is set, and finds downloaded models in
    the folder `models`. Paths are absolute, as the program starts in a folder of its own.
    """
    silent = film.with_name(f"{film.stem}.silent.mp4")  # of an avatar, whose sound is added to it
    resume = ["--resume"] if any(RenderFiles(out).journal.exists() for out in (film, silent)) else []
    command = [sys.executable, "-m", "app.supervised", "render", str(take), "-o", str(film), *resume, *options]
    chosen = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    return Program(command, INSTALLATION, {**chosen, **os.environ, "LONGTAKE_MODELS": str(models)})
