"""Serve the package's folder of HTML, scripts and styles."""

from __future__ import annotations

import gzip
import os
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse, StaticFiles
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
PACKED = (".js", ".css")  # the others are small or packed already


class PageFiles(StaticFiles):
    """Serve the folder of the pages, with the same media types on every machine."""

    def __init__(self) -> None:
        super().__init__(directory=PAGE)

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file of the folder, packed by gzip where the browser reads that, or 304 if it has the file."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = Headers(scope=scope)
        suffix = Path(full_path).suffix
        response.headers["content-type"] = MEDIA_TYPES.get(suffix, "application/octet-stream")
        if suffix not in PACKED:
            return response
        response.headers["vary"] = "accept-encoding"
        if response.status_code != 200 or "gzip" not in asked.get("accept-encoding", "") or "range" in asked:
            return response
        kept = {name: response.headers[name] for name in ("content-type", "last-modified", "vary")}
        kept |= {"content-encoding": "gzip", "etag": response.headers["etag"].removesuffix('"') + '-gzip"'}
        packed = Response(_packed(os.fspath(full_path), stat_result.st_mtime_ns), headers=kept)
        return NotModifiedResponse(packed.headers) if self.is_not_modified(packed.headers, asked) else packed


@lru_cache(maxsize=256)
def _packed(path: str, _: int) -> bytes:
    """Return a file as gzip; the second argument is the time of its last change, so that another version is read."""
    return gzip.compress(Path(path).read_bytes(), mtime=0)
