"""Draw the noise of a chunk, which depends on seed, chunk and step alone, never on what was drawn before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from models.counted_noise import normal


class Noise(StrEnum):
    """Say which generator a take's noise comes from: that of its time, so that it is drawn again as it was."""

    TORCH = "torch"  # torch's Mersenne Twister on the CPU: takes of earlier releases
    PHILOX = "philox"  # by a counter, computed where it is needed


def chunk_noise(
    kind: Noise, seeds: Sequence[int], chunk: int, step: int, shape: tuple[int, ...], device: torch.device, knot: int
) -> Tensor:
    """Return standard normal noise [seeds, C, chunk + knot, h, w] float32 of `shape` (C, chunk, h, w) and its knot.

    Step 0 starts a chunk, step k > 0 re-noises after it. The noise of a knot is drawn apart, so that a chunk has the
    same noise with and without one.
    """
    channels, _, *cells = shape
    rows = torch.stack([noise(kind, seed, chunk, step, shape, device) for seed in seeds])
    if not knot:
        return rows
    ahead = [noise(kind, seed, chunk, step, (channels, knot, *cells), device, knot=True) for seed in seeds]
    return torch.cat([rows, torch.stack(ahead)], 2)


def noise(
    kind: Noise,
    seed: int,
    chunk: int,
    step: int,
    shape: tuple[int, ...],
    device: torch.device,
    *,
    knot: bool = False,
) -> Tensor:
    """Return standard normal noise [shape] float32 of one take; the same bits on every device."""
    if kind is Noise.PHILOX:
        return normal(seed, (chunk, step, int(knot)), shape, device)
    name = f"{seed}/{chunk}/{step}" + ("/knot" if knot else "")
    key = hashlib.blake2b(name.encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
    return torch.randn(tuple(shape), generator=generator).to(device)
