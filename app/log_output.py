"""Where log messages go and how they look: one format for every module of ours and for uvicorn, on standard error."""

from __future__ import annotations

import logging
from enum import StrEnum

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ROOMS = ("app", "streaming", "models", "exporters", "uvicorn")


class LogLevel(StrEnum):
    """The least severe messages that are shown."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(level: LogLevel) -> None:
    """Show messages of our own modules and of uvicorn from `level` on; of other libraries warnings and errors alone."""
    logging.basicConfig(format=FORMAT, level=logging.WARNING, force=True)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level.upper())
    # each request is worth a line only to somebody who looks for a fault
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if level is LogLevel.DEBUG else logging.WARNING)
