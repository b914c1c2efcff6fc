"""The commands, one module each. Heavy imports stand inside the functions, so that help and errors come at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from app.log_output import LogLevel
from models.errors import UserError

ENGINE_HELP = "auto, torch, onnx, openvino, tensorrt, or one with its precision, such as onnx:int8"
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="least severe log messages to show")]


class CommandError(UserError):
    """Report that a command cannot do what it is asked."""


def require_writable(out: Path) -> None:
    """Check an output path before minutes of work; CommandError if it is no .mp4 or its folder cannot be written."""
    if out.suffix != ".mp4":
        raise CommandError(f"{out}: the output is an .mp4 file")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise CommandError(f"{out}: the folder {out.parent} does not exist or cannot be written")


def make_folder(folder: Path) -> None:
    """Make a folder for outputs unless it is there; CommandError if it cannot be made or is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise CommandError(f"{folder}: cannot be made a folder ({e.strerror or e})") from e
