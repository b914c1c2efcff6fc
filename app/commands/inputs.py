"""Check the files that a command reads before it starts any long work."""

from __future__ import annotations

import errno
from pathlib import Path

from models.errors import UserError


class InputError(UserError):
    """Report a file that cannot be read."""


def require_input(path: Path, *, folder: bool = False) -> None:
    """Raise InputError unless `path` is a regular file or, with `folder`, a folder; /dev/zero would never end."""
    try:
        if path.is_file() or (folder and path.is_dir()):
            return
        why = "is a folder" if path.is_dir() else "is no ordinary file" if path.exists() else "no such file"
    except OSError as e:
        why = "the name is too long" if e.errno == errno.ENAMETOOLONG else str(e.strerror or e)
    raise InputError(f"{str(path)[:200]}: cannot be read ({why})")
