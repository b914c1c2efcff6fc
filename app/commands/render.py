"""Commands that write a film: `render` a take, let an `avatar` speak."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from app.commands import ENGINE_HELP, CommandError, writable
from models.checkpoints.folders import engines_folder, models_folder
from models.time_grid import frames_before


def render(
    take: Annotated[Path, typer.Argument(help="a take (.yaml), LongLive's .jsonl, or .txt with one prompt a line")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("out.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    extend: Annotated[str | None, typer.Option(help="make a finished render longer by this much, such as 30s")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="keep what is before, render anew from here, such as 12s")
    ] = None,
    scale: Annotated[int, typer.Option(min=1, max=8, help="enlarge the picture")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="write a contact sheet (PNG)")] = None,
    report: Annotated[Path | None, typer.Option(help="write timings and landed cues (JSON)")] = None,
    model: Annotated[str | None, typer.Option(help="another model than the take names")] = None,
    switch_at: Annotated[int, typer.Option(min=1, help="latents between prompts of a .jsonl or .txt")] = 40,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Render a take to a video file."""
    from streaming.take.take_file import load as load_take

    script = load_take(take, switch_at=switch_at)
    if model:
        script = script.model_copy(update={"model": model})
    writable(out)
    from models.catalog import find

    entry = find(script.model)
    from models.checkpoints.assemble import folder_of, load
    from streaming import render_job as rendering

    where = rendering.torch_device(device)
    precision = rendering.torch.bfloat16 if where.type == "cuda" else rendering.torch.float32
    from app.engine_choice import chosen

    loaded = chosen(load(entry, folder_of(entry, models_folder()), where, precision), engine, engines_folder())
    for cue in script.cues:
        for word, near in loaded.not_understood(cue.prompt or "").items():
            print(
                f"note: {entry.name} does not know {word!r}" + (f"; near: {', '.join(near)}" if near else ""),
                file=sys.stderr,
            )
    if extend:
        script = rendering.extended(script, extend, entry, out.with_name(f"{out.stem}.render"))
    limit = rendering.position(start, entry.fps) if start else None
    sound = None
    if entry.drive is None:
        job = rendering.Job(script, loaded, out, scale=scale)
    else:
        from streaming.speech.avatar_film import hushed, job_of_take, with_sound

        job, sound = job_of_take(loaded, script, take.parent, out, scale)

    from app.progress_bar import shown

    unlike = _unlike(script.record or {}, job.record)
    with shown(job) as progress:
        result = job.run(go_on=resume or extend is not None or start is not None, limit=limit, progress=progress)
    result.warnings += unlike
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    if sound is not None:
        with_sound(job.out, sound, out, hushed(script, loaded))
    if report:
        rendering.write_report(result, job, report)
    if sheet:
        rendering.contact_sheet(out, sheet)
    seconds = frames_before(job.grid.start(job.chunks)) / job.fps
    print(
        f"{out}: {seconds:.1f} s of video, {result.as_json()['fps']:.0f} fps, first frame after {result.first_frame_s} s"
    )


def _unlike(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What keeps a replay from giving the latents of then; a take's record may be older than some of its names."""
    differs = [f"{k} {v} → {now.get(k, 'none')}" for k, v in then.items() if now.get(k) != v]
    return [f"not the record that the take was made under ({', '.join(differs)}); frames may differ"] if differs else []


def avatar(
    audio: Annotated[Path | None, typer.Option("--audio", help="what is said: a sound file of any kind")] = None,
    say: Annotated[str | None, typer.Option("--say", help="or a text, read by espeak-ng")] = None,
    portrait: Annotated[Path | None, typer.Option("--portrait", help="who says it: a picture")] = None,
    face: Annotated[str, typer.Option("--face", help="or a face: ada, bo, cem … or hair=curly,skin=deep")] = "ada",
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("avatar.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    scale: Annotated[int, typer.Option(min=1, max=8, help="enlarge the picture")] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
) -> None:
    """Let a portrait speak, and write the film with its sound."""
    if (audio is None) == (say is None):
        raise CommandError("say either --audio with a sound file or --say with a text")
    writable(out)
    from app.engine_choice import chosen
    from app.progress_bar import shown
    from models.catalog import AVATAR
    from models.checkpoints.assemble import folder_of, load
    from models.pocket.world.portrait.gallery import drawn, face_named
    from streaming.render_job import torch, torch_device
    from streaming.speech import avatar_film as avatars
    from streaming.speech.portrait_check import doubt

    picture = avatars.portrait_of(portrait, AVATAR.size) if portrait else drawn(face_named(face))
    sound = audio or avatars.said(say or "", out)
    where = torch_device(device)
    precision = torch.bfloat16 if where.type == "cuda" else torch.float32
    model = chosen(load(AVATAR, folder_of(AVATAR, models_folder()), where, precision), engine, engines_folder())
    if portrait and (note := doubt(model, picture)):
        print(f"note: {note}", file=sys.stderr)
    job = avatars.job_of(model, picture, sound, out, seed, scale)
    with shown(job) as progress:
        result = job.run(go_on=resume, progress=progress)
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    avatars.with_sound(job.out, sound, out)
    print(f"{out}: {result.frames / job.fps:.1f} s of video, {result.as_json()['fps']:.0f} fps")
