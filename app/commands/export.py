"""`longtake export`: an engine for this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands import LogLevelOption
from app.log_output import LogLevel, configure


def export(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    engine: Annotated[str, typer.Option(help="onnx, openvino or tensorrt")] = "onnx",
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8 (the default)")] = None,
    device: Annotated[str, typer.Option(help="auto (the engine's own), cpu or cuda")] = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Build an engine for a model on this machine, and measure how close it comes to torch."""
    configure(log_level)
    from models.catalog import find

    entry = find(name)
    from rich.console import Console

    from app import engine_choice
    from app.loaded_model import load_model
    from models.checkpoints.folders import engines_folder

    variant = engine_choice.exportable(engine, precision)
    model = load_model(entry, engine_choice.home_of(variant) if device == "auto" else device)
    with Console(stderr=True).status("exporting") as status:
        print(engine_choice.export(model, variant, engines_folder(), status.update))
