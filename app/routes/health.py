"""Health, metrics, and the pages that are not the studio: login, share link, their scripts."""

from __future__ import annotations

import hmac
from pathlib import Path
from urllib.parse import parse_qs

import prometheus_client
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from app.security import COOKIE
from app.services import Studio
from streaming.live.session import Session

PAGE = Path(__file__).parents[1] / "page"
SERVED = {file.name for file in PAGE.iterdir() if file.suffix in (".js", ".css")}


def add(app: FastAPI, studio: Studio, token: str | None) -> None:
    registry = prometheus_client.CollectorRegistry()
    gauges = {
        name: prometheus_client.Gauge(f"longtake_{name}", text, registry=registry)
        for name, text in (
            ("sessions", "running sessions"),
            ("viewers", "connected viewers"),
            ("real_time_factor", "device seconds a media second costs, all sessions"),
            ("buffer_seconds", "media drawn and not yet shown, the least of all sessions"),
        )
    }

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """A session can be started."""
        return JSONResponse({"ready": studio.ready}, 200 if studio.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus text."""
        running: list[Session] = [h.session for h in studio.sessions.hosted.values()]
        gauges["sessions"].set(len(running))
        gauges["viewers"].set(sum(len(s.broadcast) for s in running))
        gauges["real_time_factor"].set(sum(s.real_time_factor or 0 for s in running))
        gauges["buffer_seconds"].set(min((len(s.playout) / s.playout.fps for s in running), default=0))
        return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/login", response_class=HTMLResponse)
    async def login_page() -> str:
        """Where a browser gives the token."""
        return (PAGE / "login.html").read_text(encoding="utf-8")

    @app.post("/login")
    async def login(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
        (offered, *_) = form.get("token", [""])
        if token is None or not hmac.compare_digest(offered.encode(), token.encode()):
            raise HTTPException(401, "this is not the token")
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    @app.get("/watch/{session}", response_class=HTMLResponse)
    async def watch(session: str) -> str:
        """The read-only page of a share link."""
        studio.hosted(session)
        return (PAGE / "watch.html").read_text(encoding="utf-8")

    @app.get("/page/{name}")
    async def page(name: str) -> FileResponse:
        """Scripts and styles of the pages."""
        if name not in SERVED:
            raise HTTPException(404, "no such file")
        return FileResponse(PAGE / name)
