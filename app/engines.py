"""The one place in the doors that knows exporters: which engine runs a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from exporters.artifacts import Store
from exporters.choice import Asked, choose
from exporters.engine import Variant
from exporters.engines import build
from exporters.verify import verify
from models.checkpoints.assemble import Model


def chosen(model: Model, engine: str, folder: Path) -> Model:
    """The model, run by the engine that was asked for; one line says which. ExportError if that cannot be."""
    return choose(model, Asked.parse(engine), Store(folder), lambda text: print(text, file=sys.stderr, flush=True))


def export(model: Model, engine: str, precision: str, folder: Path, say: Callable[[str], None]) -> str:
    """Build an engine and compare it with torch; what came of it, in one sentence."""
    variant, store = Variant(engine, precision), Store(folder)
    path = build(model, variant, store, say)
    report = verify(model, variant, store, say)
    return f"{path}: {report['verdict']}"
