"""The journal of a take: one JSON line a boundary, appended as it happens, so that a kill loses at most one line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Appends lines; reading forgives a last line that a kill tore."""

    def __init__(self, path: Path, *, keep: list[dict[str, Any]] | None = None) -> None:
        """Start the file with the lines to keep (none: a new journal), replacing what was there in one move."""
        partial = path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(line) + "\n" for line in keep or []), encoding="utf-8")
        os.replace(partial, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Every whole line, in order; what follows a torn or foreign line is not trusted."""
    lines: list[dict[str, Any]] = []
    if not path.exists():
        return lines
    for text in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict):
            break
        lines.append(line)
    return lines
