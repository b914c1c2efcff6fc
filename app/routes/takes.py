"""Takes of the data folder, also those that a kill cut off: list, download, and what was recorded of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.routes.sessions import begun, not_here, waiting
from app.services import Studio
from models import catalog
from models.checkpoints.weight_files import CheckpointError
from models.time_grid import frames_before
from streaming.live.pacing import LookAhead
from streaming.live.registry import FullError
from streaming.media.live_recording import whole_bytes
from streaming.speech import soundtrack
from streaming.take.history import JournalSummary

BLOCK = 1 << 18  # bytes sent at a time


class Continued(BaseModel):
    """How to go on."""

    model_config = ConfigDict(extra="forbid")

    look_ahead: LookAhead = LookAhead.SMOOTH
    ticket: Annotated[str, Field(max_length=60)] | None = None


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

    @app.get("/api/takes/{take}/sound")
    def sound(take: str) -> StreamingResponse:
        """What an avatar said so far (WAV): it lies beside the take file, under the name that stands there."""
        return wav_so_far(_beside(studio, studio.take(take).sound))

    @app.get("/api/takes/{take}/reference")
    def reference(take: str) -> FileResponse:
        """The portrait of an avatar's take (PNG)."""
        path = _beside(studio, studio.take(take).reference)
        return FileResponse(path, filename=path.name)

    @app.post("/api/takes/{take}/continue", status_code=201)
    async def go_on(take: str, how: Continued) -> dict[str, Any]:
        """A session that branches at the end of a take. 503 with a ticket while the device is busy."""
        script = studio.take(take)
        if script.sound is not None:
            raise HTTPException(409, "an avatar's take cannot be continued; render it, or begin a new one")
        try:
            told = studio.archive.told(take)
            hosted = await studio.sessions.create(told.line.take, how.look_ahead, how.ticket, past=told.line)
        except FullError as e:
            raise waiting(e) from None
        except (KeyError, CheckpointError):
            raise not_here(script.model) from None
        return begun(studio, hosted)

    @app.post("/api/takes/{take}/render", status_code=202)
    async def render(take: str) -> dict[str, Any] | None:
        """Render a take in the background, as `longtake render` does; once more: what has come since."""
        script = studio.take(take)
        try:
            studio.renders.start(take, script)
        except KeyError:
            raise not_here(script.model) from None
        except OSError as e:
            raise HTTPException(507, f"the take cannot be written ({e.strerror}); free some space") from None
        return studio.renders.state(take)

    @app.get("/api/takes/{take}/render")
    async def rendered(take: str) -> dict[str, Any]:
        """How far the render is."""
        studio.take(take)
        state = studio.renders.state(take)
        if state is None:
            raise HTTPException(404, "this take was not rendered")
        return state

    @app.delete("/api/takes/{take}/render", status_code=204)
    async def cancel(take: str) -> None:
        """End a render; what is done is kept for the next."""
        try:
            studio.renders.cancel(take)
        except KeyError:
            raise HTTPException(404, "this take is not being rendered") from None

    @app.get("/api/takes/{take}/film")
    def film(take: str) -> FileResponse:
        """The rendered take."""
        studio.take(take)
        path = studio.renders.film(take)
        if not path.is_file():
            raise HTTPException(404, "this take was not rendered to its end")
        return FileResponse(path, media_type="video/mp4", filename=path.name)


def _summary(studio: Studio, told: JournalSummary, *, live: bool) -> dict[str, Any]:
    line = told.line
    fps = catalog.ENTRIES[line.take.model].fps if line.take.model in catalog.ENTRIES else None
    return {
        "id": line.id,
        "model": line.take.model,
        "parent": line.parent,
        "latents": line.length,
        "seconds": round(frames_before(line.length) / fps, 1) if fps else None,
        "sound": line.take.sound is not None,
        "prompts": [e.prompt for e in line.landed if e.prompt],
        "changed": studio.archive.changed(line.id),
        "state": "live" if live else "ended" if told.ended else "cut off",
        "render": studio.renders.state(line.id),
        "recordings": [int(p.stem.partition("-")[2]) for p in studio.archive.recordings(line.id)],
    }


def _beside(studio: Studio, name: str | None) -> Path:
    path = studio.archive.folder / (name or "")
    if name is None or not path.is_file():
        raise HTTPException(404, "this take has none")
    return path


def wav_so_far(path: Path) -> StreamingResponse:
    """The samples of which the file's header speaks now, whatever becomes of the file meanwhile."""
    with path.open("rb") as file:
        head = file.read(soundtrack.HEADER)
    return _film(path, soundtrack.whole_bytes(head, path.stat().st_size), "audio/wav", head)


def _film(path: Path, size: int, kind: str = "video/mp4", head: bytes = b"") -> StreamingResponse:
    """The first `size` bytes of a file that may be growing, beginning with `head`, which may have changed there.

    What was taken back meanwhile, as an interruption does with a sound, is zeros: the length was promised.
    """

    def blocks() -> Iterator[bytes]:
        yield head
        left = size - len(head)
        with path.open("rb") as file:
            file.seek(len(head))
            while left:
                block = file.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
                left -= len(block)
                yield block

    headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{path.name}"'}
    return StreamingResponse(blocks(), media_type=kind, headers=headers)
