"""Choose the engine that runs a model. No other module of `app` knows the exporters."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from exporters.artifacts import ExportError, Store
from exporters.engine_modules import Variant
from exporters.engine_registry import ENGINES, build, require
from exporters.engine_selection import Asked, choose
from exporters.verify import verify
from models.checkpoints.assemble import Model


def chosen(model: Model, engine: str, folder: Path) -> Model:
    """Return the model with the engine that `--engine` names, and print which it is; ExportError if it cannot run."""
    return choose(model, Asked.parse(engine), Store(folder), _say)


def chosen_or_torch(model: Model, engine: str, folder: Path) -> Model:
    """Do as `chosen`, but leave a model that has no such engine in torch, and print why."""
    try:
        return chosen(model, engine, folder)
    except ExportError as e:
        _say(f"note: {model.entry.name} runs in torch; {e}")
        return model


def check(model: Model, engine: str, folder: Path) -> None:
    """Raise ExportError if the engine that `--engine` names cannot run the model."""
    choose(model, Asked.parse(engine), Store(folder), lambda text: None)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def exportable(engine: str, precision: str | None) -> Variant:
    """Parse what to export: `onnx` and a precision, or both as in `onnx:int8`; ExportError for another."""
    asked = Asked.parse(f"{engine}:{precision}" if precision else engine)
    if asked.engine not in ENGINES:
        raise ExportError(f"{asked.engine} is nothing to export; there are {', '.join(ENGINES)}")
    require(asked.engine)
    return Variant(asked.engine, asked.precision or "int8")


def home_of(variant: Variant) -> str:
    """Return the type of device that the engine is built for and runs on."""
    return ENGINES[variant.engine].DEVICE


def export(model: Model, variant: Variant, folder: Path, say: Callable[[str], None]) -> str:
    """Build an engine, compare it with torch, and return the verdict in one sentence; `say` gets the progress."""
    store = Store(folder)
    path = build(model, variant, store, say)
    report = verify(model, variant, store, say)
    return f"{path}: {report['verdict']}"
