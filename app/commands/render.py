"""Render a take to a film (`longtake render`)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.inputs import require_take, shipped_take
from app.commands.options import (
    MOST_ROUNDS,
    CodecOption,
    DeviceOption,
    EngineOption,
    FitChoice,
    LogLevelOption,
    LoraOption,
    ScaleOption,
    StartBy,
    StrengthOption,
    VramOption,
    fitting_of,
)
from app.commands.outputs import require_film, require_folder, require_picture, require_side_files
from app.commands.render_film import How, render_film, require_upscaler, upscaler_in
from app.log_output import LogLevel, configure

if TYPE_CHECKING:
    from models.catalog import Entry
    from streaming.film_parts import FilmPart
    from streaming.render_resume import Request
    from streaming.take.take_file import Take, TakeFile


def render(
    take: Annotated[
        Path,
        typer.Argument(
            help="a take (.yaml), LongLive's .jsonl, .txt with one prompt a line, or `example`, which ships"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the video to write, or the folder of all stories  [default: out.mp4]"),
    ] = None,
    story: Annotated[
        str | None, typer.Option(metavar="N|all", help="which of the stories of a .jsonl, from 1, or all of them")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="throw an unfinished render away; with --resume only if it is of no use")
    ] = False,
    extend: Annotated[str | None, typer.Option(help="make a finished render longer by this much, such as 30s")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="keep what is before, render anew from here, such as 12s")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="begin with this picture")] = None,
    video: Annotated[Path | None, typer.Option(help="go on from the end of this film")] = None,
    source: Annotated[Path | None, typer.Option(help="follow this film")] = None,
    strength: StrengthOption = None,
    region: Annotated[
        str | None,
        typer.Option(help="draw only here, the source stays around it: 25%,25%,50%,50% (left, top, width, height)"),
    ] = None,
    start_by: Annotated[
        StartBy | None, typer.Option(help="pin the picture as the first frame, or let it stand for a chunk")
    ] = None,
    fit: Annotated[
        FitChoice, typer.Option(help="crop pictures of another shape, or pad them with bars")
    ] = FitChoice.CROP,
    scale: ScaleOption = 1,
    upscale: Annotated[
        Path | None, typer.Option(help="or enlarge it with the network in this file (safetensors, .[upscale])")
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="write a contact sheet (PNG or JPEG)")] = None,
    report: Annotated[Path | None, typer.Option(help="write timings and landed cues (JSON)")] = None,
    model: Annotated[str | None, typer.Option(help="another model than the take names")] = None,
    switch_at: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_ROUNDS, help="latents between prompts of a .jsonl or .txt  [default: 40]"),
    ] = None,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    codec: CodecOption = None,
    vram: VramOption = None,
    lora: LoraOption = None,
    no_links: Annotated[
        bool, typer.Option("--no-links", help="refuse files of the take that are symbolic links, as a server does")
    ] = False,
    part: Annotated[
        int | None,
        typer.Option(hidden=True, min=1, max=MOST_ROUNDS, help="only this one of the parts of farm --split-at-cuts"),
    ] = None,
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Render a take to a video file."""
    configure(log_level)
    if story != "all":
        require_film(out or Path("out.mp4"))
    require_take(take)
    require_side_files([out or Path("out.mp4")], take, sheet, report)
    require_picture(sheet)
    if upscale is not None:
        require_upscaler(upscale, scale)
    from streaming.take.take_file import read_take_file

    take = shipped_take(take) or take
    if no_links and take.is_symlink():
        raise CommandError(f"{take.name}: is a symbolic link, and --no-links follows none")
    file = read_take_file(take, switch_at=switch_at or 40)
    if no_links:
        from streaming.take.take_links import refuse_links

        for one in file.takes:
            refuse_links(one, take.parent)
    if switch_at is not None and not file.prompts_only:
        raise CommandError(f"{take.name}: says itself when its cues come; --switch-at is for .jsonl and .txt")
    how = How(resume, restart, extend, start, scale, sheet, report)
    from app.commands.render_pictures import Pictures

    pictures = Pictures(image, video, source, strength, region, start_by, fit)
    films, notes = _all_films(file, out, how) if story == "all" else _one_film(file, story, out)
    films = [(pictures.added_to(one, take.parent), film) for one, film in films]
    for _, film in films:
        require_film(film)
    from app.known_models import find

    entry = find(model or films[0][0].model)
    films = [(_with_loras(script, lora or ()), film) for script, film in films]
    requests, more_notes = _requests(films, entry, how)
    for note in dict.fromkeys(notes + more_notes):
        print(f"note: {note}", file=sys.stderr)
    part_of_film = None if part is None else _part(requests, entry, part, how)
    from app.engine_choice import require_installed, runs_in_torch, torch_beside
    from app.loaded_model import load_model, run_with_loras
    from app.progress_bar import working
    from models.checkpoints.folders import engines_folder
    from streaming.take.footage import TakeFootage
    from streaming.take.take_loras import use_loras

    footages = [
        TakeFootage(entry, request.take.width_height(entry.size), take.parent, files=pictures.files())
        for request in requests
    ]
    for request, footage in zip(requests, footages, strict=True):
        footage.check(request.take)
    upscaler = upscaler_in(upscale, device)
    with working(f"loading {entry.name}"):
        loras = any(cue.lora for request in requests for cue in request.take.cues)
        require_installed(engine)
        said: list[str] = []
        chosen, fitting = (
            torch_beside(engine, engines_folder()) if loras else engine,
            fitting_of(codec, vram, slowly=True),
        )
        loaded = load_model(entry, device, chosen, fitting=fitting, note=said.append)
    for note in said:
        print(f"note: {note}", file=sys.stderr)
    for request in requests:
        for note in use_loras(loaded, request.take, take.parent):
            print(f"note: {note}", file=sys.stderr)
    if loras and not runs_in_torch(engine):
        loaded = run_with_loras(loaded, [request.take for request in requests], engine)
    for request, footage, (_, film) in zip(requests, footages, films, strict=True):
        render_film(loaded, request, take.parent, footage, film, how, upscaler, part_of_film)


def _all_films(file: TakeFile, out: Path | None, how: How) -> tuple[list[tuple[Take, Path]], list[str]]:
    """Return every story with its film in the folder `out`, which is made, and notes; CommandError or OutputError."""
    _refuse_with_all(how)
    folder = out or Path("out")
    if folder.suffix.lower() == ".mp4":
        raise CommandError(f"{folder}: --story all writes a film for each story; give a folder to -o")
    require_folder(folder)
    return [(take, folder / f"story-{number:02}.mp4") for number, take in enumerate(file.takes, 1)], list(file.notes)


def _one_film(file: TakeFile, story: str | None, out: Path | None) -> tuple[list[tuple[Take, Path]], list[str]]:
    """Return the story that `--story` numbers with its film `out`, and notes; UserError if there is no such story."""
    take, notes = file.story(_story_number(story))
    return [(take, out or Path("out.mp4"))], notes


def _with_loras(script: Take, given: Sequence[str]) -> Take:
    """Return a take that begins with the LoRAs of `--lora`; UserError if a name stands for two files."""
    from models.cue import scale_text
    from streaming.take.take_file import CueLine
    from streaming.take.take_loras import lora_names, offered

    if not given:
        return script
    names, files = lora_names(script), dict(script.loras or {})
    lines: list[str] = []
    for lora in offered(given):
        if lora.name in names:
            raise CommandError(f"--lora {lora.path}: the take itself gives {lora.name} its scales; say it once")
        files[lora.name] = str(lora.path)
        lines.append(f"{lora.name}:{scale_text(lora.scale)}")
    return script.model_copy(update={"loras": files, "cues": [CueLine(lora=lines), *script.cues]})


def _story_number(story: str | None) -> int | None:
    if story is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", story, re.ASCII):
        raise CommandError(f"--story {story[:40]}: is neither the number of a story, from 1, nor all")
    return int(story)


def _refuse_with_all(how: How) -> None:
    single = {"--extend": how.extend, "--from": how.start, "--sheet": how.sheet, "--report": how.report}
    for option, value in single.items():
        if value is not None:
            raise CommandError(f"{option} is for one film; give --story a number instead of all")


def _part(requests: Sequence[Request], entry: Entry, number: int, how: How) -> FilmPart:
    """Return the part of that number, from 1, of the only film; CommandError if it has none, or is to be changed."""
    from streaming.film_parts import parts_of

    if how.extend is not None or how.start is not None or how.sheet is not None or how.report is not None:
        raise CommandError("--part is drawn for farm --split-at-cuts; it goes with --resume and --restart alone")
    parts = parts_of(requests[0].take, entry) if len(requests) == 1 else []
    if number > len(parts):
        raise CommandError(f"--part {number}: the film has {len(parts)} parts that can be drawn apart")
    return parts[number - 1]


def _requests(films: list[tuple[Take, Path]], entry: Entry, how: How) -> tuple[list[Request], list[str]]:
    """Return what to render to each film, and what the model will not show of it as notes, without touching a file.

    Raises UserError if a film cannot be rendered as asked, or if the model shows nothing of a take.
    """
    from app.vocabulary import prompt_notes
    from streaming.take.take_notes import notes_on

    requests: list[Request] = []
    notes: list[str] = []
    for number, (take, film) in enumerate(films, 1):
        request = _request(take.model_copy(update={"model": entry.name}), entry, film, how)
        about = f"story {number}: " if len(films) > 1 else ""
        notes += [about + note for note in (*notes_on(request.take, entry), *prompt_notes(entry, request.take))]
        requests.append(request)
    return requests, notes


def _request(script: Take, entry: Entry, out: Path, how: How) -> Request:
    """Return what to render to `out`, given what an earlier render left there, without touching a file.

    Raises UserError if options exclude each other or an earlier render would be lost.
    """
    from streaming.render_files import RenderFiles
    from streaming.render_resume import position, refuse_to_throw_away, request_of

    files = RenderFiles(out if entry.driving_features is None else out.with_name(f"{out.stem}.silent.mp4"))
    if how.restart and (how.extend is not None or how.start is not None):
        raise CommandError("--restart begins anew; --extend and --from keep what is there: say one of them")
    if not how.goes_on and not how.restart:
        refuse_to_throw_away(files, entry)
    more, begin = (None if text is None else position(text, entry.fps) for text in (how.extend, how.start))
    if more == 0:
        raise CommandError("--extend 0 adds nothing; say how much longer, such as 30s")
    return request_of(script, entry, files, more=more, start=begin, anew=not how.goes_on)
