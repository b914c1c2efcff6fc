"""`longtake render`: a take becomes a film."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import ENGINE_HELP, CommandError, LogLevelOption, require_writable
from app.log_output import LogLevel, configure

if TYPE_CHECKING:
    from models.checkpoints.assemble import Model
    from streaming.take.take_file import Take


def render(
    take: Annotated[
        Path,
        typer.Argument(
            help="a take (.yaml), LongLive's .jsonl, .txt with one prompt a line, or `example`, which ships"
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("out.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="throw an unfinished render away; with --resume only if it is of no use")
    ] = False,
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
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Render a take to a video file."""
    configure(log_level)
    from models.checkpoints.assemble import ASSETS
    from streaming.take.take_file import load as load_take

    shipped = ASSETS / "takes" / f"{take}.yaml"
    if not take.exists() and take.name == str(take) and shipped.is_file():
        take = shipped
    script = load_take(take, switch_at=switch_at)
    if model:
        script = script.model_copy(update={"model": model})
    require_writable(out)
    from models.catalog import find

    entry = find(script.model)
    from app.loaded_model import load_model
    from app.progress_bar import shown
    from streaming.render_files import RenderFiles
    from streaming.render_job import Job
    from streaming.render_report import contact_sheet, write_report
    from streaming.render_resume import position, refuse_to_throw_away, request_of

    files = RenderFiles(out if entry.driving_features is None else out.with_name(f"{out.stem}.silent.mp4"))
    goes_on = resume or extend is not None or start is not None
    if restart and (extend is not None or start is not None):
        raise CommandError("--restart begins anew; --extend and --from keep what is there: say one of them")
    if not goes_on and not restart:
        refuse_to_throw_away(files, entry)
    more, begin = (None if text is None else position(text, entry.fps) for text in (extend, start))
    if more == 0:
        raise CommandError("--extend 0 adds nothing; say how much longer, such as 30s")
    request = request_of(script, entry, files, more=more, start=begin, anew=not goes_on)
    script = request.take
    loaded = load_model(entry, device, engine)
    _warn_of_unknown_words(loaded, script)
    sound = None
    if entry.driving_features is None:
        job = Job(script, loaded, out, scale=scale, intent=request.intent, limit=request.limit)
    else:
        from streaming.speech.avatar_film import hushed, job_of_take
        from streaming.speech.film_sound import with_sound

        job, sound = job_of_take(loaded, script, take.parent, out, scale, intent=request.intent, limit=request.limit)
    changed = _changed_record(script.record or {}, job.record)
    with shown(job) as progress:
        result = job.run(go_on=goes_on, restart=restart, progress=progress)
    result.warnings += changed
    for note in result.notes():
        print(f"note: {note}", file=sys.stderr)
    if sound is not None:
        for note in with_sound(job.out, sound, out, hushed(script, loaded)):
            print(f"note: {note}", file=sys.stderr)
    if report:
        write_report(result, job.record, script.landing(job.grid, job.fps), report)
    if sheet:
        contact_sheet(out, sheet)
    seconds, fps = result.film_frames / job.fps, result.as_json()["fps"]
    print(f"{out}: {seconds:.1f} s of video, {fps:.0f} fps, first frame after {result.first_frame_s} s")
    if sound is not None:
        job.files.discard()
    else:
        if said := job.files.said():
            print(f"note: {said}", file=sys.stderr)
        job.end()


def _warn_of_unknown_words(model: Model, take: Take) -> None:
    for cue in take.cues:
        for word, near in model.not_understood(cue.prompt or "").items():
            hint = f"; near: {', '.join(near)}" if near else ""
            print(f"note: {model.entry.name} does not know {word!r}{hint}", file=sys.stderr)


def _changed_record(then: Mapping[str, str | int], now: Mapping[str, str | int]) -> list[str]:
    """Name what keeps a replay from giving the same latents; the record of an older take may lack some of the names."""
    differs = [f"{k} {v} → {now.get(k, 'none')}" for k, v in then.items() if now.get(k) != v]
    return [f"not the record that the take was made under ({', '.join(differs)}); frames may differ"] if differs else []
