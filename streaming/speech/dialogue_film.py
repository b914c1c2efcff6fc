"""Render a dialogue: as many takes in step as there are faces, each driven by its own voice, in one film."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np

from models.catalog import AVATAR_PROMPT
from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import FRAME
from models.pocket.world.portrait.gallery import drawn, face_named
from streaming.arrangement import Arrangement
from streaming.media.video_writer import Frames
from streaming.render_job import Job
from streaming.speech.dialogue_drive import DialogueDrive
from streaming.speech.dialogue_file import Dialogue, DialogueError
from streaming.speech.dialogue_sound import DialogueSound
from streaming.speech.portrait_drive import PortraitDrive, latents_of
from streaming.speech.portrait_file import Portrait, PortraitError, portrait_of
from streaming.take.take_file import CueLine, Take


class Layout(StrEnum):
    """Name how the faces of a dialogue are shown."""

    SIDE = "side"  # all of them, side by side in the order of the file
    CUT = "cut"  # the one that speaks


def portraits_of(dialogue: Dialogue, name: str, size: tuple[int, int]) -> list[Portrait]:
    """Return the portraits of the speakers in `size` (width, height); DialogueError with the line of one that fails.

    `name` is that of the dialogue's file.
    """
    portraits: list[Portrait] = []
    for role in dialogue.roles:
        try:
            picture = portrait_of(role.portrait, size) if role.portrait else Portrait(drawn(face_named(role.face)))
        except PortraitError as e:
            raise DialogueError(f"{name}:{role.line}: {e}") from e
        portraits.append(picture)
    return portraits


def job_of_dialogue(
    model: Model,
    portraits: Sequence[Reference],
    sound: DialogueSound,
    out: Path,
    layout: Layout = Layout.SIDE,
    seed: int = 0,
    scale: int = 1,
    *,
    background: str | None = None,
) -> Job:
    """Return the render of a dialogue to its end, without its sound, for the film `out`.

    A `background` such as #00b140 takes the place of what is behind the faces. Face i is drawn with the seed
    `seed` + i, hears what speaker i says, and silence while the others speak.
    """
    cues = [CueLine(prompt=AVATAR_PROMPT)]
    length = latents_of(sound.samples)
    take = Take(model=model.entry.name, seed=seed, length=length, background=background, cues=cues)

    def drive() -> DialogueDrive:
        return DialogueDrive([PortraitDrive(model, face, sound.pieces(i)) for i, face in enumerate(portraits)])

    digest = hashlib.blake2b(digest_size=8)
    for face in portraits:
        digest.update(f"{face.width}x{face.height} ".encode() + face.pixels)
    silent = out.with_name(f"{out.stem}.silent.mp4")
    return Job(
        take,
        model,
        silent,
        scale=scale,
        drive=drive,
        heard=sound.name,
        portrait=digest.hexdigest(),
        arrangement=arranged(sound, len(portraits), layout),
    )


def arranged(sound: DialogueSound, faces: int, layout: Layout) -> Arrangement:
    """Return how the pictures of so many faces, which stand side by side, become those of the film."""
    if layout is Layout.SIDE:
        return Arrangement(layout.value, faces)
    return Arrangement(layout.value, faces, _Speakers(sound, faces).of)


class _Speakers:
    """Choose of faces that stand side by side the one that speaks."""

    def __init__(self, sound: DialogueSound, faces: int) -> None:
        changes = sound.shown()
        self._frames, self._roles = [sample // FRAME for sample, _ in changes], [role for _, role in changes]
        self._faces = faces

    def of(self, frames: Frames, first: int) -> Frames:
        """Return [n, H, W, 3] of frames [n, H, faces · W, 3], the first of which is number `first` of the film."""
        width = frames.shape[2] // self._faces
        roles = [self._roles[bisect_right(self._frames, first + i) - 1] for i in range(len(frames))]
        if not roles:
            return frames[:, :, :width]
        return np.stack(
            [frame[:, role * width : (role + 1) * width] for frame, role in zip(frames, roles, strict=True)]
        )
