"""Define the error for unusable files of weights."""

from __future__ import annotations

from models.errors import ErrorKind, UserError


class CheckpointError(UserError):
    """Report files of weights that are missing or cannot be used."""

    kind = ErrorKind.CONFLICT


def some_of(names: list[str], shown: int = 3) -> str:
    """Return the first few names in one line, and how many more there are; unprintable characters are escaped."""
    first = ", ".join(name if name.isprintable() and len(name) <= 120 else repr(name)[:120] for name in names[:shown])
    return first + (f" and {len(names) - shown} more" if len(names) > shown else "")
