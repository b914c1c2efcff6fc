"""List the models of the catalog, and tell how one reads a prompt."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from app.dependencies import ServicesOf
from app.model_library import ModelFacts
from app.vocabulary import reading
from models import catalog
from models.cue import checked_prompt
from models.text.prompt_reading import PromptError

router = APIRouter()


class Reading(BaseModel):
    """Tell how a model reads a prompt."""

    understood: bool  # whether the model knows a word of it
    why: str = ""  # it is not understood, in a line for a person
    unknown: dict[str, list[str]] = {}  # word → known words near in meaning
    notes: list[str] = []


@router.get("/api/models")
def models(services: ServicesOf) -> list[ModelFacts]:
    """List every model of the catalog: what it needs, and whether its files are on the server."""
    return services.library.facts()


@router.get("/api/models/{model}/reading")
def read(model: str, prompt: Annotated[str, Query(min_length=1, max_length=4000)]) -> Reading:
    """Tell how a model reads a prompt, before it is sent; its weights are not needed."""
    entry = catalog.find(model)
    try:
        usable = checked_prompt(prompt)
    except ValueError as e:
        return Reading(understood=False, why=str(e))
    try:
        read = reading(entry, usable)
    except PromptError as e:
        return Reading(understood=False, why=str(e), unknown=e.unknown)
    return Reading(understood=True, unknown=read.unknown, notes=list(read.notes))
