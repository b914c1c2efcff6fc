"""Import Gradio in half the time, without the .pyi files that it writes beside its components."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


@contextlib.contextmanager
def _without_stub_files() -> Iterator[None]:
    """Hide the source files of Gradio's classes for a while, since it parses and prints those that it finds."""
    real = inspect.getfile

    def getfile(object: Any) -> str:
        if isinstance(object, type) and object.__module__.startswith("gradio."):
            raise OSError
        return real(object)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = real


with _without_stub_files():
    import gradio as gr

__all__ = ["gr"]
