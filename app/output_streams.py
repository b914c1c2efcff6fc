"""Make standard output and standard error accept any text and never raise, so that printing stops no program."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LONGEST = 600  # characters of a line that is meant for a person


class _UnfailingFile(io.FileIO):
    """Write to a file descriptor, and drop output if that fails: a closed pipe, a full disk, a lost terminal."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes and return how many were written; if writing fails, drop all of them and return their number."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def make_unfailing() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that never raise.

    Characters that the encoding lacks, including lone surrogates, are written as backslash escapes. A stream that was
    closed before the program started is replaced by one that drops everything. Streams that are already replaced, such
    as by a test that captures output, stay.
    """
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _unfailing(sys.stdout, 1)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _unfailing(sys.stderr, 2)


def _unfailing(stream: TextIO | None, descriptor: int) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    terminal = stream.isatty()
    if sys.platform == "win32" and terminal and isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")  # a Windows console is no file descriptor of bytes
        return stream
    stream.flush()
    raw = _UnfailingFile(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=terminal or descriptor == 2,
    )


def as_line(text: str) -> str:
    """Return a text as one line of at most LONGEST characters, without control characters."""
    shown = "".join(
        c if c.isprintable() else " " if c in "\r\n\t" else c.encode("unicode_escape").decode() for c in text
    )
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 60]} ... {shown[-50:]}"
