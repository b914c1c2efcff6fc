"""Draw the noise of a chunk, which depends on seed, chunk and step alone, never on what was drawn before."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from models import sampler
from models.counted_noise import normal


class Noise(StrEnum):
    """Name the generator of a take's noise, so that an old take is drawn again from the one that it was drawn from."""

    TORCH = "torch"  # torch's Mersenne Twister on the CPU
    PHILOX = "philox"  # by a counter, computed where it is needed


def chunk_noise(
    kind: Noise, seeds: Sequence[int], chunk: int, step: int, shape: tuple[int, ...], device: torch.device, knot: int
) -> Tensor:
    """Return standard normal noise [seeds, C, chunk + knot, h, w] float32 of `shape` (C, chunk, h, w) and its knot.

    Step 0 starts a chunk, step k > 0 re-noises after it. The noise of a knot is drawn apart, so that a chunk has the
    same noise with and without one.
    """
    own, ahead = (1, *shape), (1, shape[0], knot, *shape[2:])
    if kind is Noise.PHILOX:
        rows = [normal(seed, (chunk, step, 0), own, device) for seed in seeds]
        held = [normal(seed, (chunk, step, 1), ahead, device) for seed in seeds] if knot else []
    else:
        rows = [sampler.noise(seed, chunk, step, own, device) for seed in seeds]
        held = [sampler.noise(seed, chunk, step, ahead, device, knot=True) for seed in seeds] if knot else []
    return torch.cat([torch.cat(rows), torch.cat(held)], 2) if held else torch.cat(rows)
