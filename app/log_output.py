"""Send log messages of our modules and of uvicorn to standard error, in one format."""

from __future__ import annotations

import logging
from enum import StrEnum

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ROOMS = ("app", "streaming", "models", "exporters", "uvicorn", "uvicorn.error")


class LogLevel(StrEnum):
    """Name the least severe level of log messages to show."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(level: LogLevel) -> None:
    """Show messages of our modules and uvicorn from `level` on, and only warnings and errors of other libraries."""
    logging.basicConfig(format=FORMAT, level=logging.WARNING, force=True)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())
    # a line for each request helps only while a fault is searched
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if level is LogLevel.DEBUG else logging.WARNING)
