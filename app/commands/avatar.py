"""Let a portrait speak a text or a sound file (`longtake avatar`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.commands import CommandError
from app.commands.inputs import require_input
from app.commands.options import DeviceOption, EngineOption, LogLevelOption, ScaleOption, SeedOption
from app.commands.outputs import require_apart, require_film
from app.log_output import LogLevel, configure


def avatar(
    audio: Annotated[Path | None, typer.Option("--audio", help="what is said: a sound file of any kind")] = None,
    say: Annotated[str | None, typer.Option("--say", help="or a text, read by espeak-ng")] = None,
    portrait: Annotated[Path | None, typer.Option("--portrait", help="a picture of the speaker")] = None,
    face: Annotated[
        str | None,
        typer.Option("--face", help="or a face: ada, bo, cem ..., or hair=curly,skin=deep, else plain  [default: ada]"),
    ] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="the video to write")] = Path("avatar.mp4"),
    resume: Annotated[bool, typer.Option("--resume", help="go on after an interruption")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="throw an unfinished render away; with --resume only if it is of no use")
    ] = False,
    scale: ScaleOption = 1,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    engine: EngineOption = "auto",
    log_level: LogLevelOption = LogLevel.WARNING,
) -> None:
    """Let a portrait speak, and write the film with its sound."""
    configure(log_level)
    if (audio is None) == (say is None):
        raise CommandError("say either --audio with a sound file or --say with a text")
    if portrait is not None and face is not None:
        raise CommandError("say either --portrait with a picture or --face with a face that is drawn")
    for file in (audio, portrait):
        if file is not None:
            require_input(file)
    require_film(out)
    require_apart(out, audio, portrait)
    from app.loaded_model import load_model
    from app.progress_bar import shown, working
    from models.catalog import AVATAR
    from models.pocket.world.portrait.gallery import FIRST, drawn, face_named
    from streaming.render_files import RenderFiles
    from streaming.render_resume import refuse_to_throw_away
    from streaming.speech import avatar_film
    from streaming.speech.audio_file import voice_in
    from streaming.speech.film_sound import with_sound
    from streaming.speech.portrait_check import doubt
    from streaming.speech.portrait_file import Portrait, portrait_of

    if not resume and not restart:
        refuse_to_throw_away(RenderFiles(out.with_name(f"{out.stem}.silent.mp4")), AVATAR)

    picture = portrait_of(portrait, AVATAR.size) if portrait else Portrait(drawn(face_named(face or FIRST)))
    sound = audio or avatar_film.said(say or "", out)
    voice = voice_in(sound)
    for note in (*picture.notes, *voice.notes):
        print(f"note: {note}", file=sys.stderr)
    with working(f"loading {AVATAR.name}"):
        model = load_model(AVATAR, device, engine)
    if portrait and (why := doubt(model, picture.reference)):
        print(f"note: {why}", file=sys.stderr)
    job = avatar_film.job_of(model, picture.reference, voice, out, seed, scale)
    with shown(job) as progress:
        result = job.run(go_on=resume, restart=restart, progress=progress)
    for note in (*result.notes(), *with_sound(job.out, sound, out)):
        print(f"note: {note}", file=sys.stderr)
    print(f"{out}: {result.film_frames / job.fps:.1f} s of video, {result.as_json()['fps']:.0f} fps")
    job.files.discard()
