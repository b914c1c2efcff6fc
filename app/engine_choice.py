"""Choose the engine that runs a model; this is the only module of `app` that imports the exporters.

The value of `--engine` is parsed without torch; the other functions import the exporters when they are called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporters.artifacts import ExportError, Store
from exporters.asked_engine import COMPILED, ENGINE_NAMES, TORCH, Asked

if TYPE_CHECKING:
    from exporters.engine_modules import Variant
    from models.checkpoints.assemble import Model


@dataclass(frozen=True)
class Readings:
    """Read a model from its files: `exact` as engines are made from it, `in_torch` in the precision of torch here.

    `precision` names the latter, and is empty where the two are the same.
    """

    exact: Callable[[], Model]
    in_torch: Callable[[], Model]
    precision: str = ""


def require_known(engine: str) -> None:
    """Raise ExportError if the engine or its precision is unknown."""
    Asked.parse(engine)


def require_exportable(engine: str, precision: str | None) -> None:
    """Raise ExportError if `longtake export` cannot build this engine with this precision."""
    _exportable(engine, precision)


def require_installed(engine: str) -> None:
    """Raise ExportError with the packages to install if the engine lacks some; this imports torch."""
    asked = Asked.parse(engine)
    if asked.engine in ENGINE_NAMES:
        from exporters.engine_registry import require

        require(asked.engine)


def runs_in_torch(engine: str) -> bool:
    """Return whether the value of `--engine` says that torch runs models."""
    return Asked.parse(engine).engine == TORCH


def torch_beside(engine: str, folder: Path) -> str:
    """Return the value of `--engine` by which torch reads a model that this engine may run afterwards."""
    parts = Asked.parse(engine)
    engines = parts.engine != "auto" or Store(folder).names()  # they are made from float32
    return engine if parts.engine == TORCH else "torch:fp32" if engines else TORCH


def torch_precision(engine: str) -> str | None:
    """Return the precision, fp32 or bf16, that the value of `--engine` sets for torch; None if it sets none."""
    asked = Asked.parse(engine)
    return asked.precision if asked.engine == TORCH and asked.precision != COMPILED else None


def with_compiled_blocks(model: Model, engine: str, folder: Path) -> Model:
    """Return the model as torch runs it: with compiled blocks if `--engine` says so, which are kept in `folder`."""
    if Asked.parse(engine) != Asked(TORCH, COMPILED):
        return model
    from exporters.compiled_torch import compiled

    return compiled(model, folder, say)


def chosen(read: Readings, engine: str, folder: Path) -> Model:
    """Return the model with the engine that `--engine` names, and print its name; raise ExportError if it fails."""
    asked, store = Asked.parse(engine), Store(folder)
    if asked.engine == TORCH or (asked.engine == "auto" and not store.names()):
        return read.in_torch()
    from exporters.engine_selection import InTorch, choose

    return choose(read.exact(), asked, store, say, InTorch(read.in_torch, read.precision))


def chosen_or_torch(read: Readings, engine: str, folder: Path) -> Model:
    """Return the model as `chosen` does, but in torch, with the reason printed, if it has no such engine."""
    try:
        return chosen(read, engine, folder)
    except ExportError as e:
        model = read.in_torch()
        say(f"note: {model.entry.name} runs in torch; {e}")
        return model


def check(model: Model, engine: str, folder: Path) -> None:
    """Raise ExportError if the engine that `--engine` names cannot run the model."""
    from exporters.engine_selection import choose

    choose(model, Asked.parse(engine), Store(folder), lambda text: None)


def say(text: str) -> None:
    """Print a line about the engine that runs to standard error."""
    print(text, file=sys.stderr, flush=True)


def _exportable(engine: str, precision: str | None) -> Asked:
    asked = Asked.parse(engine)
    if asked.engine not in ENGINE_NAMES:
        raise ExportError(f"{asked.engine} is nothing to export; there are {', '.join(ENGINE_NAMES)}")
    if asked.precision and precision and asked.precision != precision:
        raise ExportError(f"--engine {engine} and --precision {precision} contradict each other")
    return Asked.parse(f"{asked.engine}:{asked.precision or precision or 'int8'}")


def exportable(engine: str, precision: str | None) -> Variant:
    """Return the engine and precision to export, by default int8; `engine` may name both, as in `onnx:int8`.

    Raises ExportError if they cannot be exported, or if packages are missing.
    """
    from exporters.engine_modules import Variant
    from exporters.engine_registry import require

    asked = _exportable(engine, precision)
    require(asked.engine)
    return Variant(asked.engine, asked.precision or "int8")


def home_of(variant: Variant) -> str:
    """Return the type of device that the engine is built for and runs on."""
    from exporters.engine_registry import ENGINES

    return ENGINES[variant.engine].DEVICE


def export(model: Model, variant: Variant, folder: Path, say: Callable[[str], None]) -> str:
    """Build an engine, compare it with torch, and return the result in one sentence; `say` is called with progress."""
    from exporters.engine_registry import build
    from exporters.verify import verify

    store = Store(folder)
    path = build(model, variant, store, say)
    report = verify(model, variant, store, say)
    return f"{path}: {report['verdict']}"
