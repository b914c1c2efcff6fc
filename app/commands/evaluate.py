"""Measure with trained readers how well the pocket models do (`longtake eval`, `longtake eval-avatar`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.commands import CommandError
from app.commands.options import MOST_LATENTS, MOST_ROUNDS, DeviceOption, LogLevelOption, SpeechSeconds
from app.commands.outputs import require_folder
from app.log_output import LogLevel, configure

LASTING = ("default", "before", "no sink", "anchor fixed")  # arms that are also run as long streams


def evaluate(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and plot")] = Path("eval"),
    prompts: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="held-out prompts")] = 24,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="takes of each prompt")] = 3,
    ablate: Annotated[bool, typer.Option("--ablate", help="every way of rolling out, not only the default")] = False,
    latents: Annotated[int, typer.Option(min=0, max=MOST_LATENTS, help="length of the long streams; 0: none")] = 0,
    streams: Annotated[
        int | None, typer.Option(min=1, max=MOST_ROUNDS, help="long streams; needs --latents  [default: 8]")
    ] = None,
    switch_every: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_ROUNDS, help="chunks between a long stream's prompts; without it one prompt"),
    ] = None,
    returns: Annotated[
        bool,
        typer.Option(
            "--return",
            help="leave a scene for --latents (300) and return, by a cut or a recall; goes on with what --out holds",
        ),
    ] = False,
    before: Annotated[
        Path | None, typer.Option(help="folder of another pocket, laid out as assets/, to compare with")
    ] = None,
    device: DeviceOption = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Measure with the judge how well pocket shows what its prompts say."""
    configure(log_level)
    if returns and (ablate or before is not None or streams is not None or switch_every is not None):
        raise CommandError(
            "--return is measured by itself; of the other options --prompts, --seeds and --latents apply"
        )
    if not latents and (streams is not None or switch_every is not None):
        raise CommandError("--streams and --switch-every are of long streams; say how long with --latents")
    if before is not None and not before.is_dir():
        raise CommandError(f"{before}: no such folder")
    require_folder(folder)
    import torch
    from rich.console import Console

    from app.loaded_model import torch_device
    from models.catalog import POCKET
    from models.checkpoints.assemble import ASSETS, load, load_tiny_codec
    from models.judge import classifier, evaluation, kept_results, return_evaluation, train_classifier
    from streaming.rollout import record_of

    where = torch_device(device)
    model = load(POCKET, ASSETS, where, torch.float32)
    judge = classifier.load(ASSETS / "judge" / "judge.safetensors")
    if returns:
        stay, trips = latents or 300, return_evaluation.journeys(prompts)
        record = record_of(model, where)
        kept = kept_results.KeptResults(folder / "takes", {**record, "latents": stay})
        with Console().status("takes are drawn") as status:
            found = return_evaluation.measure(model, judge, trips, seeds, stay, kept, status.update)
        print(return_evaluation.save(folder, found, stay, record))
        return
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
        drifts = [evaluation.long(judge, a, streams or 8, latents, status.update, switch_every or 0) for a in chosen]
    print(evaluation.save(folder, arms, drifts, ceiling, dict(record_of(model, where))))
    evaluation.sheet(model, folder / "sheet.png")


def evaluate_avatar(
    folder: Annotated[Path, typer.Option("-o", "--out", help="folder for table, results and sheet")] = Path("eval"),
    faces: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="faces that were never trained on")] = 6,
    seconds: SpeechSeconds = 60,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_ROUNDS, help="films of each face")] = 1,
    ablate: Annotated[bool, typer.Option("--ablate", help="every seam and every place of the reference")] = False,
    device: DeviceOption = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Measure seams, likeness and lip sync of pocket-avatar."""
    configure(log_level)
    require_folder(folder)
    import torch
    from rich.console import Console

    from app.loaded_model import torch_device
    from models.catalog import AVATAR
    from models.checkpoints.assemble import ASSETS, load
    from models.judge import avatar_evaluation, face_reader
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
