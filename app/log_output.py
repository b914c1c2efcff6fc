"""Send log messages of our modules and of uvicorn to standard error, in one format."""

from __future__ import annotations

import logging
import re
from enum import StrEnum

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
ROOMS = ("app", "streaming", "models", "exporters", "uvicorn", "uvicorn.error")

_QUERY = re.compile(r"(?<=/)(\S*?)\?\S*")


class _WithoutQueries(logging.Filter):
    """Remove the queries of addresses from uvicorn's lines: that of a WebSocket holds the session's key."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the arguments of a line; every line is kept."""
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub(r"\1", a) if isinstance(a, str) else a for a in record.args)
        return True


_WITHOUT_QUERIES = _WithoutQueries()


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
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).addFilter(_WITHOUT_QUERIES)
    # a line for each request helps only while a fault is searched
    logging.getLogger("uvicorn.access").setLevel(logging.INFO if level is LogLevel.DEBUG else logging.WARNING)
