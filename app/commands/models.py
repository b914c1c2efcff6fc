"""Commands about models: `list`, `show`, `pull`, and `export` for this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.checkpoints.folders import engines_folder, models_folder


def list_models() -> None:
    """One line a model."""
    from models.catalog import ENTRIES
    from models.checkpoints.assemble import folder_of, missing_files

    for entry in ENTRIES.values():
        here = "here" if not missing_files(entry, folder_of(entry, models_folder())) else "to pull"
        print(f"{entry.name:14} {here:8} {entry.title}")


def show_model(name: str) -> None:
    """All that the catalog says about a model."""
    from app.vocabulary import understands
    from models.catalog import find
    from models.checkpoints.assemble import folder_of

    entry = find(name)
    r = entry.rollout
    print(f"{entry.name}: {entry.title}\n")
    for source in entry.sources:
        print(
            f"from      {source.repo or 'assets/ (ships with Longtake)'}: {', '.join(source.files)}\nlicence   {source.licence}"
        )
    print(f"folder    {folder_of(entry, models_folder())}")
    print(f"picture   {entry.size[0]}x{entry.size[1]} at {entry.fps} fps")
    print(
        f"rollout   chunk {r.chunk}, window {r.window}, sink {r.sink}, steps at sigma {', '.join(f'{s:.3g}' for s in r.schedule.sigmas)}"
    )
    print(f"defaults  anchor {r.anchor}, on_switch {r.on_switch}, sink_on_switch {r.sink_on_switch}")
    for attribute, values in understands(entry).items():
        said = ", ".join(" = ".join(ways) or "(nothing)" for ways in values)
        print(f"{attribute:9} {said}")
    if entry.notes:
        print(f"note      {entry.notes}")


def pull_model(
    name: str,
    source: Annotated[Path | None, typer.Option("--from", help="copy from this folder instead of the hub")] = None,
) -> None:
    """Fetch a model's files; goes on where it was interrupted."""
    from models.catalog import find
    from models.checkpoints import download as pull
    from models.checkpoints.assemble import folder_of, missing_files

    entry = find(name)
    folder = folder_of(entry, models_folder())
    if all(not s.repo for s in entry.sources):
        print(f"{entry.name} ships with Longtake; there is nothing to pull")
        return
    for origin in entry.sources:
        print(f"{origin.repo}: {', '.join(origin.files)}\nlicence: {origin.licence}")
    if source is not None:
        if not source.is_dir():
            raise pull.PullError(f"{source}: no such folder")
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        with Progress(DownloadColumn(), BarColumn(), TimeRemainingColumn()) as bar:
            task = bar.add_task("copy", total=None)
            pull.from_folder(entry, folder, source, lambda n, total: bar.update(task, completed=n, total=total))
    else:
        pull.from_hub(entry, folder)
    missing = missing_files(entry, folder)
    if missing:
        raise pull.PullError(f"{folder}: {missing[0]} has not come")
    print(f"{entry.name} is here: {folder}")


def export(
    name: Annotated[str, typer.Argument(metavar="MODEL")],
    engine: Annotated[str, typer.Option(help="onnx, openvino or tensorrt")] = "onnx",
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or int8 (the default)")] = None,
    device: Annotated[str, typer.Option(help="auto (the engine's own), cpu or cuda")] = "auto",
) -> None:
    """Build an engine for a model on this machine, and measure how close it comes to torch."""
    from models.catalog import find

    entry = find(name)
    from rich.console import Console

    from app.engine_choice import export as export_
    from app.engine_choice import exportable, home_of
    from models.checkpoints.assemble import folder_of, load
    from streaming.render_job import torch, torch_device

    variant = exportable(engine, precision)
    where = torch_device(home_of(variant) if device == "auto" else device)
    dtype = torch.bfloat16 if where.type == "cuda" else torch.float32
    model = load(entry, folder_of(entry, models_folder()), where, dtype)
    with Console(stderr=True).status("exporting") as status:
        print(export_(model, variant, engines_folder(), status.update))
