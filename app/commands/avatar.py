"""Let a portrait speak a text or a sound file, or several portraits a dialogue (`longtake avatar`)."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands import CommandError
from app.commands.inputs import require_input
from app.commands.options import DeviceOption, EngineOption, LogLevelOption, ScaleOption, SeedOption
from app.commands.outputs import require_apart, require_film
from app.log_output import LogLevel, configure

if TYPE_CHECKING:
    from models.checkpoints.assemble import Model
    from streaming.render_job import Job
    from streaming.speech.portrait_file import Portrait


class LayoutChoice(StrEnum):
    """Name how the faces of a dialogue are shown."""

    SIDE = "side"
    CUT = "cut"


def avatar(
    audio: Annotated[Path | None, typer.Option("--audio", help="what is said: a sound file of any kind")] = None,
    say: Annotated[str | None, typer.Option("--say", help="or a text, read by espeak-ng")] = None,
    dialogue: Annotated[
        Path | None,
        typer.Option("--dialogue", help="or what several speakers say in turn: a text with lines such as ada: Hello."),
    ] = None,
    portrait: Annotated[Path | None, typer.Option("--portrait", help="a picture of the speaker")] = None,
    face: Annotated[
        str | None,
        typer.Option("--face", help="or a face: ada, bo, cem ..., or hair=curly,skin=deep, else plain  [default: ada]"),
    ] = None,
    layout: Annotated[
        LayoutChoice | None,
        typer.Option("--layout", help="faces of a dialogue side by side, or cut to the speaker  [default: side]"),
    ] = None,
    background: Annotated[
        str | None, typer.Option("--background", help="a colour behind the face, such as '#00b140' for a green screen")
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
    """Let a portrait speak, or several in turn, and write the film with its sound."""
    configure(log_level)
    if [audio, say, dialogue].count(None) != 2:
        raise CommandError(
            "say one of --audio with a sound file, --say with a text and --dialogue with a file of turns"
        )
    if portrait is not None and face is not None:
        raise CommandError("say either --portrait with a picture or --face with a face that is drawn")
    if dialogue is not None and (portrait is not None or face is not None):
        raise CommandError("--portrait and --face are for one speaker; a dialogue's file names the faces of all")
    if dialogue is None and layout is not None:
        raise CommandError("--layout is for --dialogue")
    if background is not None:
        background = background.lower()
        if not re.fullmatch("#[0-9a-f]{6}", background):
            raise CommandError(
                f"--background {background[:40]}: no colour such as '#00b140', which a shell needs in quotes"
            )
    for file in (audio, portrait, dialogue):
        if file is not None:
            require_input(file)
    require_film(out)
    require_apart(out, audio, portrait, dialogue)
    from models.catalog import AVATAR
    from streaming.render_files import RenderFiles
    from streaming.render_resume import refuse_to_throw_away

    if not resume and not restart:
        refuse_to_throw_away(RenderFiles(out.with_name(f"{out.stem}.silent.mp4")), AVATAR)
    how = _How(out, resume, restart, scale, seed, device, engine, background)
    if dialogue is not None:
        _render_dialogue(dialogue, layout or LayoutChoice.SIDE, how)
    else:
        _render_portrait(portrait, face, audio, say or "", how)


@dataclass(frozen=True)
class _How:
    """Hold the options that every film of an avatar has."""

    out: Path
    resume: bool
    restart: bool
    scale: int
    seed: int
    device: str
    engine: str
    background: str | None

    def require_separable(self, picture: Portrait) -> None:
        """Raise PortraitError if a background is asked for and cannot take the place of the portrait's own."""
        from streaming.speech.portrait_check import require_separable

        if self.background is not None:
            require_separable(picture.reference)

    def loaded(self) -> Model:
        """Return the avatar on the device and engine of the options."""
        from app.loaded_model import load_model
        from app.progress_bar import working
        from models.catalog import AVATAR

        with working(f"loading {AVATAR.name}"):
            return load_model(AVATAR, self.device, self.engine)


def _render_portrait(portrait: Path | None, face: str | None, audio: Path | None, say: str, how: _How) -> None:
    from models.catalog import AVATAR
    from models.pocket.world.portrait.gallery import FIRST, drawn, face_named
    from streaming.speech import avatar_film
    from streaming.speech.audio_file import voice_in
    from streaming.speech.portrait_check import doubt
    from streaming.speech.portrait_file import Portrait, portrait_of

    picture = portrait_of(portrait, AVATAR.size) if portrait else Portrait(drawn(face_named(face or FIRST)))
    how.require_separable(picture)
    sound = audio or avatar_film.said(say, how.out)
    voice = voice_in(sound)
    for note in (*picture.notes, *voice.notes):
        _note(note)
    model = how.loaded()
    if portrait and (why := doubt(model, picture.reference)):
        _note(why)
    job = avatar_film.job_of(model, picture.reference, voice, how.out, how.seed, how.scale, background=how.background)
    _run(job, sound, how)


def _render_dialogue(file: Path, layout: LayoutChoice, how: _How) -> None:
    from app.progress_bar import working
    from models.catalog import AVATAR
    from streaming.speech.avatar_film import spoken_file
    from streaming.speech.dialogue_file import read_dialogue
    from streaming.speech.dialogue_film import Layout, job_of_dialogue, portraits_of
    from streaming.speech.dialogue_sound import spoken_dialogue
    from streaming.speech.portrait_check import doubt

    dialogue = read_dialogue(file)
    portraits = portraits_of(dialogue, file.name, AVATAR.size)
    for picture in portraits:
        how.require_separable(picture)
    with working("speaking") as say:
        sound = spoken_dialogue(dialogue, file.name, say)
    for note in (*dialogue.notes, *(note for portrait in portraits for note in portrait.notes)):
        _note(note)
    model = how.loaded()
    for role, picture in zip(dialogue.roles, portraits, strict=True):
        if role.portrait and (why := doubt(model, picture.reference)):
            _note(f"{role.name}: {why}")
    faces = [picture.reference for picture in portraits]
    job = job_of_dialogue(
        model, faces, sound, how.out, Layout(layout.value), how.seed, how.scale, background=how.background
    )
    sound.write(spoken_file(how.out))
    _run(job, spoken_file(how.out), how)


def _run(job: Job, sound: Path, how: _How) -> None:
    """Render the frames, add the sound, and print notes and a summary."""
    from app.progress_bar import shown
    from streaming.speech.film_sound import with_sound

    with shown(job) as progress:
        result = job.run(go_on=how.resume, restart=how.restart, progress=progress)
    for note in (*result.notes(), *with_sound(job.out, sound, how.out)):
        _note(note)
    print(f"{how.out}: {result.film_frames / job.fps:.1f} s of video, {result.as_json()['fps']:.0f} fps")
    job.files.discard()


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)
