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


def require_take(path: Path) -> None:
    """Raise InputError unless `path` is a regular file, or a bare word, which may be the name of a take that ships."""
    if path.name != str(path) or path.suffix:
        require_input(path)


def shipped_take(take: Path) -> Path | None:
    """Return the file of the take that ships under the name `take`; None if a file lies there or none ships."""
    from models.checkpoints.assemble import ASSETS

    shipped = ASSETS / "takes" / f"{take}.yaml"
    return shipped if not take.exists() and take.name == str(take) and shipped.is_file() else None
