"""The one place in the doors that knows exporters: which engine runs a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from exporters.artifacts import ExportError, Store
from exporters.choice import Asked, choose
from exporters.engine import Variant
from exporters.engines import ENGINES, build, require
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


def exportable(engine: str, precision: str | None) -> Variant:
    """What `export` is asked for, `onnx` and a precision or both as in `onnx:int8`; ExportError if there is no such."""
    asked = Asked.parse(f"{engine}:{precision}" if precision else engine)
    if asked.engine not in ENGINES:
        raise ExportError(f"{asked.engine} is nothing to export; there are {', '.join(ENGINES)}")
    require(asked.engine)
    return Variant(asked.engine, asked.precision or "int8")


def home_of(variant: Variant) -> str:
    """The type of device that the engine is built and runs on."""
    return ENGINES[variant.engine].DEVICE


def export(model: Model, variant: Variant, folder: Path, say: Callable[[str], None]) -> str:
    """Build an engine and compare it with torch; what came of it, in one sentence."""
    store = Store(folder)
    path = build(model, variant, store, say)
    report = verify(model, variant, store, say)
    return f"{path}: {report['verdict']}"
