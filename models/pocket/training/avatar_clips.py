"""Encode training clips of the portrait world: a face that speaks, its driving signal, and its reference picture."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.codecs.tiny import TinyCodec
from models.driving_signal import FPS, DrivingSignal
from models.pocket.training import footage
from models.pocket.training.footage import Footage, Shot, as_video
from models.pocket.world.portrait.face import random_face
from models.pocket.world.portrait.motion import living
from models.pocket.world.portrait.renderer import SIZE, draw_portrait, places
from models.pocket.world.portrait.tts import RATE, Sound, monologue, mouth_of
from models.time_grid import FRAMES_PER_LATENT, frames_before

CHUNK, CHUNKS = 3, 6
LATENTS = CHUNK * CHUNKS
FRAMES = frames_before(LATENTS)


@dataclass(frozen=True)
class AvatarClip:
    """Hold an encoded clip, float16: latents [C, 18, h, w], reference [C, 1, h, w], cell weights [18, h, w].

    `drive` [18, 7, 64] are the driving tokens.
    """

    latents: Tensor
    reference: Tensor
    weight: Tensor
    drive: Tensor


@dataclass(frozen=True)
class Portrait:
    """Hold a drawn clip: frames [n, 128, 128, 3] uint8, poses [n, 11], sound [samples], pixel weights [n, 128, 128]."""

    frames: NDArray[np.uint8]
    poses: NDArray[np.float32]
    sound: NDArray[np.float32]
    weight: NDArray[np.float32]


def portrait(rng: random.Random, frames: int, *, held_out: bool = False, sound: Sound | None = None) -> Portrait:
    """Draw a face that speaks, or listens, for `frames` frames; needs espeak-ng unless a sound is given."""
    face = random_face(rng, held_out=held_out)
    sound = monologue((frames + 2) / FPS, rng) if sound is None else sound
    mouth = mouth_of(sound)[:frames]
    poses = living(frames, np.random.default_rng(rng.getrandbits(32)), mouth)
    where = places(face, poses)
    weight = np.ones((frames, SIZE, SIZE), np.float32)
    for boxes, more in ((where.face, 1.0), (where.eyes, 2.0), (where.mouth, 5.0)):
        edges = np.clip(np.round(boxes * SIZE), 0, SIZE).astype(int)
        for mask, (left, top, right, bottom) in zip(weight, edges, strict=True):
            mask[top:bottom, left:right] += more
    return Portrait(draw_portrait(face, poses), poses, sound, weight)


@torch.no_grad()
def encode_clips(codec: TinyCodec, count: int, seed: int) -> Iterator[AvatarClip]:
    """Draw and encode clips of six chunks (69 frames); the reference is a clip's last frame (arXiv 2512.21734)."""
    rng = random.Random(seed)
    for _ in range(count):
        drawn = portrait(rng, FRAMES)
        z = codec.encode(as_video(drawn.frames[[0, 0, 0, *range(FRAMES)]])[None])[0]
        reference = codec.encode_image(torch.from_numpy(drawn.frames[-1:]))[0]
        signal = DrivingSignal()
        signal.hear(drawn.sound)
        shown = torch.from_numpy(drawn.weight[[0, *range(FRAMES_PER_LATENT - 1, FRAMES, FRAMES_PER_LATENT)]])
        weight = torch.nn.functional.adaptive_avg_pool2d(shown, (z.shape[-2], z.shape[-1]))
        yield AvatarClip(z.half(), reference.half(), weight.half(), torch.from_numpy(signal.latents(0, LATENTS)).half())


@lru_cache(maxsize=1)
def _monologues() -> list[Sound]:
    """Return long monologues of which crops hear a part, because synthesis would take longer than learning."""
    rng = random.Random(1)
    return [monologue(8, rng) for _ in range(40)]


def _shot(rng: random.Random) -> Shot:
    """Draw a moment of a face that speaks; what matters most is its mouth."""
    said = rng.choice(_monologues())
    begin = rng.randrange(len(said) - RATE)
    drawn = portrait(rng, footage.FRAMES, sound=said[begin : begin + RATE])
    cells = SIZE // footage.CELL
    weight = drawn.weight.reshape(footage.FRAMES, cells, footage.CELL, cells, footage.CELL).mean((2, 4))
    return drawn.frames, weight.astype(np.float16), np.array([0.5, 0.63], np.float32)


PORTRAITS = Footage(
    _shot,
    lambda rng, frames: portrait(rng, frames).frames,
    lambda rng, frames: portrait(rng, frames, held_out=True).frames,
)
