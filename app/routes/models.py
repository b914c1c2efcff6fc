"""The models that a session can be started with."""

from __future__ import annotations

from fastapi import APIRouter

from app.dependencies import ServicesOf
from app.model_library import ModelFacts

router = APIRouter()


@router.get("/api/models")
def models(services: ServicesOf) -> list[ModelFacts]:
    """List every model of the catalog: what it asks for, and whether its files are here."""
    return services.library.facts()
