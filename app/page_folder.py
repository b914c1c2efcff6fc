"""Serve the package's folder of HTML, scripts and styles."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PAGE = Path(__file__).resolve().parent / "page"
# given here, because the table of the machine (mimetypes) may differ: Windows' registry often has text/plain for .js,
# and a browser runs no module of another type than JavaScript
MEDIA_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
}


class PageFiles(StaticFiles):
    """Serve the folder of the pages, with the same media types on every machine."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file of the folder, or 304 if the browser has it already."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["content-type"] = MEDIA_TYPES.get(Path(full_path).suffix, "application/octet-stream")
        return response
