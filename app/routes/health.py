"""Tell an operator whether the process lives, whether it can serve, and its metrics."""

from __future__ import annotations

from typing import Literal

import prometheus_client
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, Gauge
from pydantic import BaseModel

from app.dependencies import ServicesOf
from streaming.live.admission import Load

router = APIRouter()


class Health(BaseModel):
    """Tell that the process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Tell whether a session can be started."""

    ready: bool


@router.get("/healthz")
async def healthz() -> Health:
    """Answer while the process lives."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(services: ServicesOf, response: Response) -> Readiness:
    """Say whether a session can be started; 503 while pocket is being loaded and during shutdown."""
    if not services.ready:
        response.status_code = 503
        response.headers["Retry-After"] = "1"
    return Readiness(ready=services.ready)


@router.get("/api/load")
async def load(services: ServicesOf) -> Load:
    """Tell what share of the device's time the sessions take, and how many requests wait in line."""
    return services.sessions.load()


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: ServicesOf) -> Response:
    """Give the figures of all sessions in the text format of Prometheus."""
    running = [h.session for h in services.sessions.hosted.values()]
    figures = {
        "sessions": ("running sessions", len(running)),
        "waiting": ("requests for a session that wait in line", services.sessions.load().waiting),
        "viewers": ("connected viewers", sum(s.viewers for s in running)),
        "real_time_factor": (
            "device seconds that a second of media costs, all sessions",
            sum(s.real_time_factor or 0 for s in running),
        ),
        "buffer_seconds": (
            "media drawn and not yet shown, the least of all sessions",
            min((len(s.playout) / s.playout.fps for s in running), default=0),
        ),
    }
    registry = CollectorRegistry()
    for name, (text, value) in figures.items():
        Gauge(f"longtake_{name}", text, registry=registry).set(value)
    return Response(prometheus_client.generate_latest(registry), media_type=prometheus_client.CONTENT_TYPE_LATEST)
