"""Render a portrait that speaks a voice: the frames of a film, without its sound."""

from __future__ import annotations

import hashlib
import wave
from collections import Counter
from pathlib import Path

import numpy as np

from models.catalog import AVATAR_PROMPT
from models.checkpoints.assemble import Model
from models.cue import Reference
from models.driving_signal import FRAME, RATE, heard_before
from models.pocket.world.portrait.tts import Speaker, speak
from models.upscaler import Upscaler
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.speech.audio_file import Voice
from streaming.speech.live_dialogue_film import job_of_live_dialogue
from streaming.speech.portrait_drive import PortraitDrive, latents_of
from streaming.speech.portrait_file import portrait_of
from streaming.speech.soundtrack import driving_sound
from streaming.take.journal import IntentLine
from streaming.take.take_file import CueLine, Take


def spoken_file(out: Path) -> Path:
    """Return where the sound of a render to `out` is written, in a folder beside it that is made here."""
    folder = out.with_name(f"{out.stem}.silent.render")
    folder.mkdir(exist_ok=True)
    return folder / "said.wav"


def said(text: str, out: Path) -> Path:
    """Have espeak-ng read a text into a sound file beside the render to `out`; may raise SpeechSynthesisError."""
    sound, path = speak(text, Speaker()), spoken_file(out)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype(np.int16).tobytes())
    return path


def job_of(
    model: Model,
    portrait: Reference,
    voice: Voice,
    out: Path,
    seed: int,
    scale: int = 1,
    *,
    background: str | None = None,
) -> Job:
    """Return the render of a portrait that speaks a voice to its end, on a `background` such as #00b140 if given."""
    take = Take(
        model=model.entry.name,
        seed=seed,
        length=latents_of(voice.samples),
        background=background,
        cues=[CueLine(prompt=AVATAR_PROMPT)],
    )
    silent = out.with_name(f"{out.stem}.silent.mp4")
    return Job(
        take,
        model,
        silent,
        scale=scale,
        drive=lambda: PortraitDrive(model, portrait, voice.pieces()),
        heard=voice.name,
        portrait=_named(portrait),
    )


def _named(portrait: Reference) -> str:
    """Return a name of the picture: 16 hexadecimal digits over its size and pixels."""
    size = f"{portrait.width}x{portrait.height} ".encode()
    return hashlib.blake2b(size + portrait.pixels, digest_size=8).hexdigest()


def hushed(take: Take, model: Model) -> list[tuple[int, int]]:
    """Return the samples (from, to) of a live take's sound that a chunk heard, but no viewer: it was interrupted.

    The sound of a dialogue holds only what was heard.
    """
    if take.speakers is not None:
        return []
    config = model.entry.rollout
    silent, held = list[tuple[int, int]](), Counter[int]()  # frames held before the chunk at a latent
    landing = take.landing(config.grid, model.entry.fps)
    for at, line in landing:
        held[at] += line.hold or 0
    for at, line in landing:
        if line.hush is not None:
            before = sum(frames for latent, frames in held.items() if latent < at)
            silent.append((FRAME * line.hush, heard_before(at + config.knot) + FRAME * before))
    return silent


def job_of_take(
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
    """Return the render of what an avatar said live, and its sound; RenderError if its files are not in the folder.

    `intent`, `limit` and `upscaler` are those of the job.
    """
    if take.speakers is not None:
        return job_of_live_dialogue(model, take, folder, out, scale, intent=intent, limit=limit, upscaler=upscaler)
    if take.reference is None or take.sound is None:
        raise RenderError(f"{model.entry.name} needs a portrait and a sound: let it speak with longtake avatar")
    portrait, sound = folder / take.reference, folder / take.sound
    reference = portrait_of(portrait, take.width_height(model.entry.size)).reference
    if not sound.is_file():
        raise RenderError(f"{sound}: the sound of the take is missing")
    silent = out.with_name(f"{out.stem}.silent.mp4")
    job = Job(
        take,
        model,
        silent,
        scale=scale,
        drive=lambda: PortraitDrive(model, reference, driving_sound(sound)),
        heard=hashlib.blake2b(sound.read_bytes(), digest_size=8).hexdigest(),
        portrait=_named(reference),
        intent=intent,
        limit=limit,
        upscaler=upscaler,
    )
    return job, sound
