"""The one place in the doors that knows exporters: which engine runs a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from exporters.artifacts import ExportError, Store
from exporters.choice import Asked, choose
from exporters.engine import Variant
from exporters.engines import build
from exporters.verify import verify
from models.checkpoints.assemble import Model


def chosen(model: Model, engine: str, folder: Path) -> Model:
    """The model, run by the engine that was asked for; one line says which. ExportError if that cannot be."""
    return choose(model, Asked.parse(engine), Store(folder), _say)


def chosen_or_torch(model: Model, engine: str, folder: Path) -> Model:
    """As `chosen`; a model that has no such engine stays in torch, and a line says why."""
    try:
        return chosen(model, engine, folder)
    except ExportError as e:
        _say(f"note: {model.entry.name} runs in torch; {e}")
        return model


def check(model: Model, engine: str, folder: Path) -> None:
    """ExportError if the engine that was asked for cannot run the model."""
    choose(model, Asked.parse(engine), Store(folder), lambda text: None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def export(model: Model, engine: str, precision: str, folder: Path, say: Callable[[str], None]) -> str:
    """Build an engine and compare it with torch; what came of it, in one sentence."""
    variant, store = Variant(engine, precision), Store(folder)
    path = build(model, variant, store, say)
    report = verify(model, variant, store, say)
    return f"{path}: {report['verdict']}"
