"""Return the command that renders a take in the background, the same as in a terminal."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from app.model_library import ModelLibrary
from streaming.render_process import Program

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
