"""`longtake eval` and `longtake eval-avatar`: how well the pocket models do, measured by trained readers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands import LogLevelOption
from app.log_output import LogLevel, configure

LASTING = ("default", "before", "no sink", "anchor fixed")  # arms that are also run as long streams


def evaluate(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and plot")] = Path("eval"),
    prompts: Annotated[int, typer.Option(min=1, help="held-out prompts")] = 24,
    seeds: Annotated[int, typer.Option(min=1, help="takes of each prompt")] = 3,
    ablate: Annotated[bool, typer.Option("--ablate", help="every way of rolling out, not only the default")] = False,
    latents: Annotated[int, typer.Option(min=0, help="length of the long streams; 0: none")] = 0,
    streams: Annotated[int, typer.Option(min=1, help="long streams")] = 8,
    switch_every: Annotated[int, typer.Option(min=0, help="chunks between a long stream's prompts; 0: one prompt")] = 0,
    before: Annotated[
        Path | None, typer.Option(help="folder of another pocket, laid out as assets/, to compare with")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Measure with the judge how well pocket shows what its prompts say."""
    configure(log_level)
    import torch
    from rich.console import Console

    from models.catalog import POCKET
    from models.checkpoints.assemble import ASSETS, load, load_tiny_codec
    from models.judge import classifier, evaluation, train_classifier
    from streaming.render_job import torch_device
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
    with Console().status("the judge reads clips of the world") as status:
        codec = load_tiny_codec(ASSETS / "pocket" / "codec.safetensors")
        ceiling = train_classifier.report(judge, codec, clips=200)["through the codec"]
        for arm in arms:
            evaluation.short(judge, arm, evaluation.prompts(prompts), seeds, status.update)
        lasting = (*LASTING, "sink reanchor") if switch_every else LASTING
        chosen = [a for a in arms if a.name in lasting] if latents else []
        drifts = [evaluation.long(judge, a, streams, latents, status.update, switch_every) for a in chosen]
    print(evaluation.save(folder, arms, drifts, ceiling, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "sheet.png")


def evaluate_avatar(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and sheet")] = Path("eval"),
    faces: Annotated[int, typer.Option(min=1, help="faces that were never trained on")] = 6,
    seconds: Annotated[float, typer.Option(min=8, help="length of each face's speech")] = 60,
    seeds: Annotated[int, typer.Option(min=1, help="films of each face")] = 1,
    ablate: Annotated[bool, typer.Option("--ablate", help="every seam and every place of the reference")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Measure seams, likeness and lip sync of pocket-avatar."""
    configure(log_level)
    import torch
    from rich.console import Console

    from models.catalog import AVATAR
    from models.checkpoints.assemble import ASSETS, load
    from models.judge import avatar_evaluation, face_reader
    from streaming.render_job import torch_device
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(AVATAR, ASSETS, where, torch.float32)
    reader = face_reader.load(ASSETS / "judge" / "face.safetensors")
    arms = [a for a in avatar_evaluation.arms(model.entry.rollout) if ablate or a.name == "knot 1"]
    with Console().status("faces are drawn") as status:
        for arm in arms:
            avatar_evaluation.run(model, reader, arm, faces, seconds, seeds, status.update)
    print(avatar_evaluation.save(folder, arms, dict(record_of(model, where))))
    avatar_evaluation.sheet(model, folder / "avatar.png", faces)
