"""Sample in few steps: a warped schedule, x0 from the prediction, fresh noise between steps.

Flow path x_t = (1 − t)·x0 + t·noise with t = sigma; velocity v = noise − x0, so x0 = x_t − sigma·v.
Schedule and re-noising follow Self-Forcing (2506.08009) and LongLive (2509.22622); a model whose steps go on with the
noise that they began with uses `models.unipc` instead.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["velocity", "x0"]
Solver = Literal["renoise", "unipc"]  # what lies between two steps


TABLE = 1000  # entries of a schedule's table, which fall from 1 and end above 0


@dataclass(frozen=True)
class Schedule:
    """Hold the sigmas of the steps, largest first, each in (0, 1].

    `told` has the timestep that the network is told at each step, 0 … 1000; empty: 1000·sigma, a fraction.
    """

    sigmas: tuple[float, ...]
    told: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.told and len(self.told) != len(self.sigmas):
            raise ValueError(f"{len(self.sigmas)} steps need as many timesteps, not {len(self.told)}")

    @property
    def timesteps(self) -> tuple[float, ...]:
        """Return what the network is told at each step."""
        return self.told or tuple(1000 * sigma for sigma in self.sigmas)

    def first(self, steps: int | None) -> Schedule:
        """Return the schedule of the first `steps` steps alone; None: of all."""
        return Schedule(self.sigmas[:steps], self.told[:steps])

    @classmethod
    def warped(cls, steps: Sequence[float], shift: float) -> Schedule:
        """Return the schedule of steps such as (1000, 750, 500, 250), warped by `shift`: s·u / (1 + (s − 1)·u)."""
        if not steps or any(not 0 < t <= 1000 for t in steps) or sorted(steps, reverse=True) != list(steps):
            raise ValueError(f"steps must fall from at most 1000 and stay above 0, not {list(steps)}")
        return cls(tuple(shift * t / (1000 + (shift - 1) * t) for t in steps))

    @classmethod
    def looked_up(cls, steps: Sequence[int], shift: float) -> Schedule:
        """Return the schedule of timesteps that are told as they are, each at the nearest sigma of a warped table."""
        return cls(tuple(nearest_sigma(t, shift) for t in steps), tuple(steps))

    @classmethod
    def even(cls, steps: int, shift: float) -> Schedule:
        """Return `steps` levels evenly from 0.999 down, 0 left out, warped by `shift` and told in whole numbers.

        It is the schedule of Wan 2.2's UniPC (`FlowUniPCMultistepScheduler`), not that of diffusers' solver.
        """
        if steps < 1:
            raise ValueError(f"there is at least one step, not {steps}")
        levels = [0.999 * (1 - i / steps) for i in range(steps)]
        sigmas = tuple(shift * u / (1 + (shift - 1) * u) for u in levels)
        return cls(sigmas, tuple(math.floor(1000 * sigma) for sigma in sigmas))


def nearest_sigma(timestep: float, shift: float) -> float:
    """Return the sigma nearest to a timestep, 0 … 1000, in the table of TABLE entries warped by `shift`.

    It is the table of Self-Forcing (2506.08009), in float32 as there.
    """
    table = _table(shift)
    return float(table[int((1000 * table - timestep).abs().argmin())])


@lru_cache(maxsize=8)
def _table(shift: float) -> Tensor:
    u = torch.linspace(1, 0, TABLE + 1)[:-1]
    return shift * u / (1 + (shift - 1) * u)


def predicted_x0(x: Tensor, prediction: Tensor, sigma: float, kind: Prediction) -> Tensor:
    """Return the clean latents that a prediction made at `sigma` stands for; float32 like `x`."""
    return prediction.to(x.dtype) if kind == "x0" else x - sigma * prediction.to(x.dtype)


def renoised(x0: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Return clean latents brought back to noise level `sigma` with fresh noise."""
    return (1 - sigma) * x0 + sigma * noise


def noise(
    seed: int, chunk: int, step: int, shape: Sequence[int], device: torch.device, *, knot: bool = False
) -> Tensor:
    """Return standard normal noise [shape] float32 that depends on (seed, chunk, step) alone, by torch's generator.

    It is drawn on the CPU, so that every device gets the same. Step 0 starts a chunk, step k > 0 re-noises after it.
    The noise of a knot is drawn apart, so that a chunk has the same noise with and without one.
    """
    name = f"{seed}/{chunk}/{step}" + ("/knot" if knot else "")
    key = hashlib.blake2b(name.encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key, "big") >> 1)
    return torch.randn(tuple(shape), generator=generator).to(device)
