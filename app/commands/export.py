"""Build an engine for this machine (`longtake export`)."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.commands.options import DeviceOption, LogLevelOption, LoraOption
from app.engine_choice import require_exportable
from app.log_output import LogLevel, configure


def export(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    engine: Annotated[str, typer.Option(help="onnx, openvino or tensorrt")] = "onnx",
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8 (the default)")] = None,
    lora: LoraOption = None,
    device: DeviceOption = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Build an engine for a model on this machine, and measure how close it comes to torch.

    With --lora the LoRAs are merged into its weights: it runs takes that have these LoRAs, at these scales, throughout.
    """
    configure(log_level)
    require_exportable(engine, precision)
    from app.commands.outputs import require_folder
    from app.known_models import find
    from models.checkpoints.folders import engines_folder

    entry = find(name)
    require_folder(engines_folder())
    from app.progress_bar import working

    with working(f"loading {entry.name}") as say:
        from app import engine_choice
        from app.loaded_model import load_model

        variant = engine_choice.exportable(engine, precision)
        where = engine_choice.home_of(variant) if device == "auto" else device
        model = load_model(entry, where, "torch:fp32" if where == "cpu" else "torch")
        if lora:
            from streaming.take.take_loras import merged_loras

            model, notes = merged_loras(model, lora)
            for note in notes:
                print(f"note: {note}", file=sys.stderr)
        print(engine_choice.export(model, variant, engines_folder(), say))
