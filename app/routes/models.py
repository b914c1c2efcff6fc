"""List the models of the catalog."""

from __future__ import annotations

from fastapi import APIRouter

from app.dependencies import ServicesOf
from app.model_library import ModelFacts

router = APIRouter()


@router.get("/api/models")
def models(services: ServicesOf) -> list[ModelFacts]:
    """List every model of the catalog: what it needs, and whether its files are on the server."""
    return services.library.facts()
