"""Takes of the data folder, also those that a kill cut off: list, download, and what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import PlainTextResponse, StreamingResponse

from app.studio import Studio
from models import catalog
from streaming.line import Told
from streaming.recording import whole_bytes
from streaming.rollout import frames_before

BLOCK = 1 << 18  # bytes sent at a time


def add(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/takes")
    def takes() -> list[dict[str, Any]]:
        """The newest takes of the data folder, the newest first."""
        running = {h.session.line.id for h in list(studio.sessions.hosted.values()) if not h.session.over}
        return [_summary(studio, told, live=told.line.id in running) for told in studio.archive.newest()]

    @app.get("/api/takes/{take}", response_class=PlainTextResponse)
    async def one_take(take: str) -> PlainTextResponse:
        """A take as a file that `longtake render` replays to the same latents."""
        text = studio.take(take).dumped()
        return PlainTextResponse(text, headers={"Content-Disposition": f'attachment; filename="{take}.yaml"'})

    @app.get("/api/takes/{take}/recordings/{number}")
    def recording(take: str, number: int) -> StreamingResponse:
        """A recording as it is now, also while it grows."""
        studio.take(take)
        path = next((p for p in studio.archive.recordings(take) if p.stem == f"{take}-{number}"), None)
        if path is None:
            raise HTTPException(404, "no such recording")
        return _film(path, whole_bytes(path))


def _summary(studio: Studio, told: Told, *, live: bool) -> dict[str, Any]:
    line = told.line
    fps = catalog.ENTRIES[line.take.model].fps if line.take.model in catalog.ENTRIES else None
    return {
        "id": line.id,
        "model": line.take.model,
        "parent": line.parent,
        "latents": line.length,
        "seconds": round(frames_before(line.length) / fps, 1) if fps else None,
        "prompts": [e.prompt for e in line.landed if e.prompt],
        "changed": studio.archive.changed(line.id),
        "state": "live" if live else "ended" if told.ended else "cut off",
        "recordings": [int(p.stem.partition("-")[2]) for p in studio.archive.recordings(line.id)],
    }


def _film(path: Path, size: int) -> StreamingResponse:
    """The first `size` bytes of a file that may be growing."""

    def blocks() -> Iterator[bytes]:
        left = size
        with path.open("rb") as file:
            while left and (block := file.read(min(BLOCK, left))):
                left -= len(block)
                yield block

    headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{path.name}"'}
    return StreamingResponse(blocks(), media_type="video/mp4", headers=headers)
