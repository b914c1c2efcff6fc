"""The commands, a file for each kind. Heavy imports happen inside them, so that help and errors come at once."""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import UserError

ENGINE_HELP = "auto, torch, onnx, openvino, tensorrt, or one with its precision, such as onnx:int8"


class CommandError(UserError, ValueError):
    """A command cannot do what it is asked; the message is one line for whoever typed it."""


def writable(out: Path) -> None:
    """Said before minutes of work, not after them."""
    if out.suffix != ".mp4":
        raise CommandError(f"{out}: the output is an .mp4 file")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise CommandError(f"{out}: the folder {out.parent} does not exist or cannot be written")
