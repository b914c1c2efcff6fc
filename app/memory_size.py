"""Read sizes of memory such as `12GB`, as people and cards state them."""

from __future__ import annotations

import re

from models.errors import UserError

_SIZE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)\s*(GB|GiB)", re.ASCII | re.IGNORECASE)
_UNITS = {"gb": 10**9, "gib": 2**30}
MOST = 2e12


class MemorySizeError(UserError, ValueError):
    """Report a text that names no size of memory."""


def parsed_memory(text: str) -> float:
    """Return the bytes of a text such as `12GB` or `11.5 GiB`; MemorySizeError for other texts."""
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[found[2].lower()] if found else 0.0
    if not 1e8 <= size <= MOST:
        raise MemorySizeError(f"{text[:40]!r} is no memory of a card such as 12GB (0.1 to 2000)")
    return size
