"""Measure how fast a model rolls out on this machine (`longtake bench`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands.options import (
    MOST_ROUNDS,
    AgainstOption,
    CodecOption,
    DeviceOption,
    EngineOption,
    LogLevelOption,
    VramOption,
    fitting_of,
)
from app.commands.outputs import require_log
from app.log_output import LogLevel, configure


def bench(
    name: Annotated[str, typer.Argument(metavar="MODEL")] = "pocket",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="true size, no files needed")] = False,
    chunks: Annotated[
        int, typer.Option(min=1, max=MOST_ROUNDS, help="chunks to measure, after the window is full")
    ] = 16,
    size: Annotated[str | None, typer.Option(help="another picture size, such as 832x480")] = None,
    device: DeviceOption = "auto",
    log: Annotated[Path, typer.Option(help="Markdown file to append to")] = Path("bench.md"),
    engine: EngineOption = "torch",
    against: AgainstOption = None,
    codec: CodecOption = None,
    vram: VramOption = None,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Measure how fast a model rolls out here, and append the figures to a log."""
    configure(log_level)
    require_log(log)
    from app.known_models import find

    entry = find(name)
    from app.progress_bar import working

    with working(f"loading {entry.name}") as say:
        from app.loaded_model import load_model
        from models.checkpoints.folders import models_folder
        from streaming import benchmark
        from streaming.benchmark_comparison import compare
        from streaming.chunk_cost import text_length
        from streaming.measured_speeds import MeasuredSpeeds
        from streaming.take.take_file import size_of

        fitting = fitting_of(codec, vram)
        model = load_model(entry, device, engine, random_weights=random_weights, fitting=fitting)
        width_height = size_of(size) if size else model.entry.size
        say(f"measuring {chunks} chunks")
        if against is None:
            result, ratios = benchmark.measure(model, width_height, chunks, text_length(entry)), ""
        else:
            other = load_model(entry, device, against, random_weights=random_weights, fitting=fitting)
            comparison = compare(model, other, width_height, chunks, text_length(entry))
            result, ratios = comparison.results[-1], comparison.as_line(engine, against) + "\n\n"
    text = benchmark.as_markdown(result, model, width_height, random_weights=random_weights) + ratios
    size_of_speed = None if width_height == entry.size else width_height
    MeasuredSpeeds(models_folder()).add(
        entry.name, model.generator.device.type, result.end_to_end_fps, "bench", size_of_speed
    )
    print(text.rstrip())
    with log.open("a", encoding="utf-8") as f:
        f.write(text)
