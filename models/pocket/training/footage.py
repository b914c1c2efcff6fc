"""Keep what a codec is trained on, short clips of a world, on the training device, and crop it there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.pocket.training.drawing_pool import DrawingPool
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import changed_scene, random_scene

SIZE = 256  # pixels of a side
FRAMES = 13  # frames of a clip: one latent of a single frame, then three of four
CELL = 8  # pixels of a side that one loss weight stands for
LEAD = 3  # copies of the first frame in front of it, so that it fills a latent

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
Shot = tuple[Frames, NDArray[np.float16], NDArray[np.float32]]


@dataclass(frozen=True)
class Footage:
    """Say how clips of one world are drawn."""

    # frames [FRAMES, H, W, 3], loss weights of cells [FRAMES, H / CELL, W / CELL], x and y in 0..1 of what matters most
    shot: Callable[[random.Random], Shot]
    clip: Callable[[random.Random, int], Frames]  # so many whole frames [n, H, W, 3]
    held_out: Callable[[random.Random, int], Frames]  # the same, of combinations that are never trained on


def _shot(rng: random.Random) -> Shot:
    start = 4 * rng.randrange(30)
    beats = [Beat(0, random_scene(rng))]
    if rng.random() < 0.35:
        beats.append(Beat(max(1, start + rng.choice((-3, 1, 5, 9))), changed_scene(beats[0].scene, rng)))
    clip, centres = draw_clip(beats, FRAMES, SIZE, start)
    cells = (np.arange(SIZE // CELL) + 0.5) * CELL / SIZE
    near_x = np.abs((cells - centres[:, :1] + 0.5) % 1 - 0.5) < 0.25  # walkers wrap around
    near_y = np.abs(cells - centres[:, 1:]) < 0.25
    weight = 1.0 + 1.5 * (near_y[:, :, None] & near_x[:, None, :])
    return clip, weight.astype(np.float16), centres[FRAMES // 2].astype(np.float32)


def _clip(rng: random.Random, frames: int, *, held_out: bool = False) -> Frames:
    a = random_scene(rng, held_out=held_out)
    return draw_clip([Beat(0, a), Beat(13, changed_scene(a, rng))], frames, SIZE, rng.randrange(48))[0]


SCENES = Footage(_shot, _clip, lambda rng, frames: _clip(rng, frames, held_out=True))


def pool_of(footage: Footage, workers: int, slots: int, seed: int) -> DrawingPool:
    """Start processes that draw shots of `footage` without end."""
    return DrawingPool(lambda rng: (footage.shot(rng), None), workers, slots, seed)


def as_video(clip: NDArray[np.uint8]) -> Tensor:
    """Return frames [..., T, H, W, 3] uint8 as [..., T, 3, H, W] float 0..1."""
    return torch.from_numpy(np.ascontiguousarray(clip)).movedim(-1, -3).float() / 255


class ClipBank:
    """Hold the newest shots of a pool, on the device that trains; the oldest make room."""

    def __init__(self, pool: DrawingPool, capacity: int, device: torch.device, seed: int = 0) -> None:
        self._pool, self.device = pool, device
        self._fields = [torch.empty((capacity, *f.shape[1:]), dtype=f.dtype, device=device) for f in pool.fields]
        self.size = int(self._fields[0].shape[2])  # pixels of a picture's side
        self._capacity, self._next, self.count = capacity, 0, 0
        self._times = torch.tensor([0] * LEAD + list(range(FRAMES)), device=device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._stream = torch.cuda.Stream() if device.type == "cuda" else None
        self._underway: list[tuple[torch.cuda.Event, list[int]]] = []

    def fill(self, least: int, most: int = 64) -> None:
        """Copy finished shots over, waiting only for the first `least` of them.

        On CUDA the copies run beside other work, and what is not waited for counts from a later call on.
        """
        slots: list[int] = self._pool.take(least, most).slots.tolist()
        with torch.cuda.stream(self._stream):
            for slot in slots:
                for kept, drawn in zip(self._fields, self._pool.fields, strict=True):
                    kept[self._next].copy_(drawn[slot], non_blocking=True)
                self._next = (self._next + 1) % self._capacity
        if self._stream is None:
            self._arrived(slots)
            return
        if slots:
            event = torch.cuda.Event()
            event.record(self._stream)
            self._underway.append((event, slots))
        while self._underway and (least > 0 or self._underway[0][0].query()):
            event, slots = self._underway.pop(0)
            event.synchronize()
            self._arrived(slots)

    def _arrived(self, slots: list[int]) -> None:
        self.count = min(self._capacity, self.count + len(slots))
        self._pool.release(slots)

    def sample(self, batch: int, crop: int) -> tuple[Tensor, Tensor]:
        """Draw random shots: video [B, LEAD + FRAMES, 3, crop, crop] float 0..1, weights [B, FRAMES, crop, crop].

        Half of the crops lie around what matters most, half anywhere; a crop as large as the picture is the picture.
        """
        frames, weights, focus = self._fields
        chosen = self._integers(self.count, batch)
        around = self._integers(2, batch) == 0
        corners = []
        for axis, length in enumerate((frames.shape[3], frames.shape[2])):
            room = (length - crop) // CELL
            near = ((focus[chosen, axis] * length - crop / 2) / CELL).round().long() + self._integers(5, batch) - 2
            corners.append(torch.where(around, near.clamp(0, room), self._integers(room + 1, batch)))
        x, y = corners
        shown = _windows(frames, chosen, self._times, CELL * x, CELL * y, crop)
        heavy = _windows(weights, chosen, self._times[LEAD:], x, y, crop // CELL).float()
        weight = F.interpolate(heavy, scale_factor=float(CELL), mode="nearest")
        return shown.permute(0, 1, 4, 2, 3).float().div(255), weight

    def _integers(self, below: int, count: int) -> Tensor:
        """Draw random integers from 0 on the device, so that no copy makes the host wait."""
        return torch.randint(below, (count,), device=self.device, generator=self._generator)


def _windows(field: Tensor, chosen: Tensor, times: Tensor, x: Tensor, y: Tensor, side: int) -> Tensor:
    """Return field[chosen, times, y…, x…], [B, T, side, side, ...]."""
    steps = torch.arange(side, device=field.device)
    rows, columns = (y[:, None] + steps)[:, None, :, None], (x[:, None] + steps)[:, None, None, :]
    return field[chosen[:, None, None, None], times[None, :, None, None], rows, columns]
