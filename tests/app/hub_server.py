"""Serve repositories of models as the hub does, from folders, on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Hub(ThreadingHTTPServer):
    """Hold what the hub has: repository → (commit, folder); and the paths that were asked for."""

    def __init__(self, repositories: dict[str, tuple[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories, self.asked = repositories, list[str]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def hub(repositories: dict[str, tuple[str, Path]]) -> Iterator[Hub]:
    """Run a hub with these repositories."""
    server = Hub(repositories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        self.server.asked.append(path)
        for repo, (commit, folder) in self.server.repositories.items():
            if path.startswith(f"/api/models/{repo}"):
                return self._describe(path.removeprefix(f"/api/models/{repo}"), commit, folder)
            if path.startswith(f"/{repo}/resolve/"):
                revision, _, name = path.removeprefix(f"/{repo}/resolve/").partition("/")
                if revision in (commit, "main") and (folder / name).is_file():
                    return self._send((folder / name).read_bytes(), "application/octet-stream", commit)
        self.send_response(404)
        self.send_header("X-Error-Code", "RevisionNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _describe(self, rest: str, commit: str, folder: Path) -> None:
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        names = {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}
        if rest.startswith("/tree/"):
            body: Any = [{"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in names.items()]
        else:
            asked = rest.removeprefix("/revision/") or "main"
            if asked not in ("main", commit):
                self.send_response(404)
                self.send_header("X-Error-Code", "RevisionNotFound")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            body = {"id": "x/y", "sha": commit, "siblings": [{"rfilename": n} for n in names]}
        return self._send(json.dumps(body).encode(), "application/json", commit)

    def _send(self, body: bytes, kind: str, commit: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
