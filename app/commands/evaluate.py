"""Commands that measure: how fast (`bench`), how well (`eval`, `eval-avatar`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands import ENGINE_HELP
from models.checkpoints.folders import engines_folder, models_folder


def bench(
    name: Annotated[str, typer.Argument(metavar="MODEL")] = "pocket",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="true size, no files needed")] = False,
    chunks: Annotated[int, typer.Option(min=1, help="chunks to measure, after the window is full")] = 16,
    size: Annotated[str | None, typer.Option(help="another picture size, such as 832x480")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    log: Annotated[Path, typer.Option(help="Markdown file to append to")] = Path("bench.md"),
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "torch",
) -> None:
    """Measure how fast a model rolls out here, and append the figures to a log."""
    from models.catalog import find

    entry = find(name)
    from models.checkpoints.assemble import folder_of, load, random_model
    from streaming import benchmark as bench_
    from streaming.render_job import torch, torch_device
    from streaming.take.take_file import size_of

    where = torch_device(device)
    precision = torch.bfloat16 if where.type == "cuda" else torch.float32
    width_height = size_of(size) if size else entry.size
    build = random_model(entry, where, precision) if random_weights else None
    loaded = build or load(entry, folder_of(entry, models_folder()), where, precision)
    if engine != "torch":
        from app.engine_choice import chosen

        loaded = chosen(loaded, engine, engines_folder())
    length = 512 if entry.text == "umt5" else 20
    result = bench_.measure(loaded, width_height, chunks, length)
    text = bench_.as_markdown(result, loaded, width_height, random_weights=random_weights)
    if width_height == entry.size:
        from models.checkpoints.footprint import Speeds

        Speeds(models_folder()).measured(entry.name, where.type, result.end_to_end_fps, "bench")
    print(text.rstrip())
    with log.open("a", encoding="utf-8") as f:
        f.write(text)


def evaluate(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and plot")] = Path("eval"),
    prompts: Annotated[int, typer.Option(min=1, help="held-out prompts")] = 24,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    ablate: Annotated[bool, typer.Option("--ablate", help="every arm, not only the default way")] = False,
    latents: Annotated[int, typer.Option(min=0, help="length of the long streams; 0: none")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="long streams")] = 8,
    switch_every: Annotated[int, typer.Option(min=0, help="chunks between a long stream's prompts; 0: one prompt")] = 0,
    before: Annotated[
        Path | None, typer.Option(help="folder of another pocket (as assets/), compared as one more arm")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Let the judge say how well pocket does what it is told."""
    from rich.console import Console

    from models.catalog import POCKET
    from models.checkpoints.assemble import ASSETS, load, load_tiny_codec
    from models.judge import classifier, evaluation
    from models.judge import train_classifier as train
    from streaming.render_job import torch, torch_device
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(POCKET, ASSETS, where, torch.float32)
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    arms = evaluation.arms(model)
    default = arms[0]
    if before is not None:
        arms.insert(1, evaluation.Arm("before", load(POCKET, before, where, torch.float32), default.config))
    if not ablate:
        arms = [a for a in arms if a.name in ("default", "before")]
    with Console().status("the judge looks at the world") as status:
        codec = load_tiny_codec(ASSETS / "pocket" / "codec.safetensors")
        ceiling = train.report(judge, codec, clips=200)["through the codec"]
        for arm in arms:
            evaluation.short(judge, arm, evaluation.prompts(prompts), seeds, status.update)
        lasting = ("default", "before", "no sink", "anchor fixed", *(["sink reanchor"] if switch_every else []))
        chosen = [a for a in arms if a.name in lasting] if latents else []
        drifts = [evaluation.long(judge, a, streams, latents, status.update, switch_every) for a in chosen]
    print(evaluation.save(folder, arms, drifts, ceiling, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "sheet.png")


def evaluate_avatar(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and sheet")] = Path("eval"),
    faces: Annotated[int, typer.Option(min=1, help="faces that were never trained on")] = 6,
    seconds: Annotated[float, typer.Option(min=8, help="of speech each")] = 60,
    seeds: Annotated[int, typer.Option(min=1)] = 1,
    ablate: Annotated[bool, typer.Option("--ablate", help="every seam and place of the reference")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Measure seams, likeness and lip sync of pocket-avatar."""
    from rich.console import Console

    from models.catalog import AVATAR
    from models.checkpoints.assemble import ASSETS, load
    from models.judge import avatar_evaluation as evaluation
    from models.judge import face_reader as reading
    from streaming.render_job import torch, torch_device
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(AVATAR, ASSETS, where, torch.float32)
    reader = reading.load(ASSETS / "judge" / "face.safetensors")
    arms = [a for a in evaluation.arms(model.entry.rollout) if ablate or a.name == "knot 1"]
    with Console().status("a face begins to speak") as status:
        for arm in arms:
            evaluation.run(model, reader, arm, faces, seconds, seeds, status.update)
    print(evaluation.save(folder, arms, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "avatar.png", faces)
