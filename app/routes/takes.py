"""Takes of the data folder: list and download."""

from __future__ import annotations

import re

from fastapi import FastAPI, HTTPException
from fastapi.responses import PlainTextResponse

from app.studio import Studio


def add(app: FastAPI, studio: Studio) -> None:
    @app.get("/api/takes")
    async def takes() -> list[str]:
        """Ids of the takes that lie in the data folder, newest first."""
        files = sorted(studio.takes.glob("*.yaml"), key=lambda p: p.stat().st_mtime, reverse=True)
        return [p.stem for p in files]

    @app.get("/api/takes/{take}", response_class=PlainTextResponse)
    async def one_take(take: str) -> PlainTextResponse:
        """A take as a file that `longtake render` replays to the same latents."""
        for hosted in studio.sessions.hosted.values():
            if hosted.session.line.id == take:
                text = hosted.session.take().dumped()
                break
        else:
            file = studio.takes / f"{take}.yaml"
            if not re.fullmatch(r"[0-9a-f]{12}", take) or not file.is_file():
                raise HTTPException(404, "no such take")
            text = file.read_text(encoding="utf-8")
        return PlainTextResponse(text, headers={"Content-Disposition": f'attachment; filename="{take}.yaml"'})
