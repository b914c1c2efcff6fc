"""A portrait and a voice become a film: a driven render, then its frames with the sound beside them."""

from __future__ import annotations

import hashlib
import warnings
import wave
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from PIL import Image

from models.catalog import AVATAR_PROMPT
from models.checkpoints.assemble import Model
from models.checkpoints.synced_files import move, sync_file
from models.cue import Reference
from models.driving_signal import FRAME, RATE, heard_before
from models.pocket.world.portrait.tts import Speaker, speak
from streaming.render_files import RenderError
from streaming.render_job import Job
from streaming.speech import audio_file
from streaming.speech.portrait_drive import PortraitDrive, latents_of
from streaming.take.journal import IntentLine
from streaming.take.take_file import CueLine, Take

BITRATE = 96_000  # of the sound
MOST_MEGAPIXELS = 64  # of a portrait as it comes: 200 MB once it is decoded, whatever its file takes
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # sizes are looked at here


def portrait_of(path: Path, size: tuple[int, int]) -> Reference:
    """Read a picture, cropped around its middle to the shape of a take and scaled to `size` (width, height).

    RenderError if it is no picture, or one of more than MOST_MEGAPIXELS.
    """
    try:
        data = path.read_bytes()
    except OSError as e:
        raise RenderError(f"{path}: {e.strerror}") from e
    return portrait_in(data, size, str(path))


def portrait_in(data: bytes, size: tuple[int, int], name: str) -> Reference:
    """Read a picture from a file's bytes as `portrait_of` does; errors call it `name`."""
    try:
        with Image.open(BytesIO(data)) as header:  # reads no more than that
            large = header.width * header.height > MOST_MEGAPIXELS * 1_000_000
        picture = None if large else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except Image.DecompressionBombError:
        large, picture = True, None
    except (OSError, ValueError, cv2.error):
        large, picture = False, None
    if large:
        raise RenderError(f"{name}: a picture of more than {MOST_MEGAPIXELS} megapixels; scale it down")
    if picture is None:
        raise RenderError(f"{name}: not a picture that can be read; PNG and JPEG can")
    height, width = picture.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    across, down = min(width, round(size[0] / scale)), min(height, round(size[1] / scale))
    x, y = (width - across) // 2, (height - down) // 2
    cropped = picture[y : y + down, x : x + across]
    scaled = cv2.resize(cropped, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4)
    return Reference(cv2.cvtColor(scaled, cv2.COLOR_BGR2RGB).tobytes(), *size)


def said(text: str, out: Path) -> Path:
    """Have espeak-ng read a text into a sound file beside the render to `out`; may raise SpeechSynthesisError."""
    sound = speak(text, Speaker())
    folder = out.with_name(f"{out.stem}.silent.render")
    folder.mkdir(exist_ok=True)
    with wave.open(str(folder / "said.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype(np.int16).tobytes())
    return folder / "said.wav"


def job_of(model: Model, portrait: Reference, sound: Path, out: Path, seed: int, scale: int = 1) -> Job:
    """Return the render of a portrait that speaks a sound file to its end; SpeechError if that is none."""
    levelling, heard = audio_file.Levelling(), hashlib.blake2b(digest_size=8)
    for piece in audio_file.read(sound):
        levelling.add(piece)
        heard.update(piece.tobytes())
    take = Take(
        model=model.entry.name, seed=seed, length=latents_of(levelling.samples), cues=[CueLine(prompt=AVATAR_PROMPT)]
    )
    silent = out.with_name(f"{out.stem}.silent.mp4")
    return Job(
        take,
        model,
        silent,
        scale=scale,
        drive=lambda: PortraitDrive(model, portrait, audio_file.read(sound), levelling.gain),
        heard=heard.hexdigest(),
        portrait=_named(portrait),
    )


def _named(portrait: Reference) -> str:
    """Return a name of the picture: 16 hexadecimal digits over its size and pixels."""
    size = f"{portrait.width}x{portrait.height} ".encode()
    return hashlib.blake2b(size + portrait.pixels, digest_size=8).hexdigest()


def hushed(take: Take, model: Model) -> list[tuple[int, int]]:
    """Return the samples (from, to) of a live take's sound that a chunk heard, but no viewer: it was interrupted."""
    config = model.entry.rollout
    landing = take.landing(config.grid, model.entry.fps)
    return [(FRAME * e.hush, heard_before(at + config.knot)) for at, e in landing if e.hush is not None]


def job_of_take(
    model: Model,
    take: Take,
    folder: Path,
    out: Path,
    scale: int = 1,
    *,
    intent: IntentLine | None = None,
    limit: int | None = None,
) -> tuple[Job, Path]:
    """Return the render of what an avatar said live, and its sound; RenderError if its files are not in the folder.

    `intent` and `limit` are those of the job.
    """
    if take.reference is None or take.sound is None:
        raise RenderError(f"{model.entry.name} needs a portrait and a sound: let it speak with longtake avatar")
    portrait, sound = folder / take.reference, folder / take.sound
    reference = portrait_of(portrait, take.width_height(model.entry.size))
    if not sound.is_file():
        raise RenderError(f"{sound}: the sound of the take is missing")
    silent = out.with_name(f"{out.stem}.silent.mp4")
    job = Job(
        take,
        model,
        silent,
        scale=scale,
        drive=lambda: PortraitDrive(model, reference, audio_file.read(sound)),
        heard=hashlib.blake2b(sound.read_bytes(), digest_size=8).hexdigest(),
        portrait=_named(reference),
        intent=intent,
        limit=limit,
    )
    return job, sound


def with_sound(video: Path, sound: Path, out: Path, silent: Sequence[tuple[int, int]] = ()) -> None:
    """Write the frames of `video`, as they are, and the sound as AAC; `out` appears only when it is whole.

    They begin together. The picture is whole chunks and the knot behind them, so it may go on after the sound for as
    long as those take. Of the sound, the samples (from, to) in `silent` are not heard.
    """
    partial = out.with_name(f"{out.stem}.partial.mp4")
    try:
        with av.open(str(video)) as source, av.open(str(partial), "w", options={"movflags": "faststart"}) as film:
            frames = source.streams.video[0]
            picture = film.add_stream_from_template(frames)
            voice = film.add_stream("aac", rate=RATE, layout="mono")
            voice.bit_rate = BITRATE
            for packet in source.demux(frames):
                if packet.dts is not None:
                    packet.stream = picture
                    film.mux(packet)
            at = 0
            for piece in audio_file.read(sound):
                for begin, end in silent:
                    piece[max(0, begin - at) : max(0, end - at)] = 0
                frame = av.AudioFrame.from_ndarray(piece[None], format="flt", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
                at += len(piece)
                film.mux(voice.encode(frame))
            film.mux(voice.encode(None))
        sync_file(partial)
        move(partial, out)
    except (FFmpegError, OSError) as e:
        partial.unlink(missing_ok=True)
        raise RenderError(f"{out}: cannot be written ({getattr(e, 'strerror', None) or e})") from e
