"""Render what the faces of a dialogue said live, from a portrait and a sound for each, with what was heard of all."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from pathlib import Path

import numpy as np

from models.checkpoints.assemble import Model
from models.driving_signal import FRAME
from models.time_grid import frames_before
from models.upscaler import Upscaler
from streaming.arrangement import Arrangement
from streaming.media.video_writer import Frames
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.speech.dialogue_drive import DialogueDrive
from streaming.speech.face_cut import FaceCut
from streaming.speech.portrait_drive import PortraitDrive
from streaming.speech.portrait_file import portrait_of
from streaming.speech.soundtrack import driving_sound
from streaming.take.journal import IntentLine
from streaming.take.take_file import Take


def job_of_live_dialogue(
    model: Model,
    take: Take,
    folder: Path,
    out: Path,
    scale: int = 1,
    *,
    intent: IntentLine | None = None,
    limit: int | None = None,
    upscaler: Upscaler | None = None,
) -> tuple[Job, Path]:
    """Return the render of a live dialogue, and its sound; RenderError if its files are not in the folder.

    `intent`, `limit` and `upscaler` are those of the job.
    """
    names = [speaker.name for speaker in take.speakers or []]
    if take.sound is None or len(take.portraits) != len(names) or len(take.sounds) != len(names) + 1:
        raise RenderError("the take does not name a portrait and a sound for each speaker, and the sound of all")
    heard, *spoken = [folder / name for name in take.sounds]
    if missing := next((path for path in (heard, *spoken) if not path.is_file()), None):
        raise RenderError(f"{missing}: the sound of the take is missing")
    size = take.width_height(model.entry.size)
    portraits = [portrait_of(folder / name, size).reference for name in take.portraits]

    def drive() -> DialogueDrive:
        pairs = zip(portraits, spoken, strict=True)
        return DialogueDrive([PortraitDrive(model, face, driving_sound(sound)) for face, sound in pairs], names)

    faces, sounds = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
    for face in portraits:
        faces.update(f"{face.width}x{face.height} ".encode() + face.pixels)
    for path in spoken:
        sounds.update(path.read_bytes())
    job = Job(
        take,
        model,
        out.with_name(f"{out.stem}.silent.mp4"),
        scale=scale,
        drive=drive,
        heard=sounds.hexdigest(),
        portrait=faces.hexdigest(),
        intent=intent,
        limit=limit,
        arrangement=_arranged(take, model, spoken),
        upscaler=upscaler,
    )
    return job, heard


def _arranged(take: Take, model: Model, spoken: list[Path]) -> Arrangement:
    """Return how the faces were shown live."""
    if take.layout != "cut":
        return Arrangement("side", take.faces)
    heard = [_frames_with_sound(path) for path in spoken]
    cut = FaceCut(take.faces, lambda face, frame: frame < len(heard[face]) and heard[face][frame])
    # the film counts the frames for which the picture was held, an arrangement those of the take
    holds = [(at, line.hold) for at, line in take.landing(model.entry.rollout.grid, model.entry.fps) if line.hold]
    starts = [frames_before(at) for at, _ in holds]

    def shown(frames: Frames, first: int) -> Frames:
        return cut.of(frames, first + sum(hold for _, hold in holds[: bisect_right(starts, first)]))

    return Arrangement("cut", take.faces, shown)


def _frames_with_sound(path: Path) -> list[bool]:
    """Return for each frame of a film whether anything is heard in a sound with it."""
    sound = np.concatenate([np.zeros(0, np.float32), *driving_sound(path)])
    return [bool(sound[begin : begin + FRAME].any()) for begin in range(0, len(sound), FRAME)]
