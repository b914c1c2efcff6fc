"""Draw chunks as a stream batch: one pass runs a step of as many chunks as there are steps (StreamDiffusionV2).

Row i of a pass runs step i of the chunk that entered i passes ago, over keys of its own, and a chunk leaves with every
pass. A chunk of the source therefore enters before the chunks that are still under way are drawn: what a take follows
is read so many chunks ahead. Before the first chunk has gone through all rows, the rows behind it hold zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models import pin, sampler, source
from models.rollout_config import RolloutConfig
from models.sampler import Schedule
from models.source import Given

Predict = Callable[
    [Tensor, list[float], list[int]], Tensor
]  # of latents [rows, C, n, h, w], timesteps and latents' places of all rows


@dataclass(frozen=True)
class UnderWay:
    """Hold a chunk between two of its steps."""

    number: int  # of the chunk; those below a stream's first stand for rows that no chunk has reached
    first: int  # latent at which it stands in time
    latents: Tensor  # [1, C, n, h, w] at the noise level of its next step
    noise: Tensor  # by which they were brought there
    steps: Schedule
    given: Given | None  # by the source that it follows


def drawn(
    config: RolloutConfig,
    under_way: tuple[UnderWay, ...],
    index: int,
    noise: Callable[[int, int], Tensor],
    enter: Callable[[int], Given | None],
    predict: Predict,
) -> tuple[Tensor, tuple[UnderWay, ...]]:
    """Return the chunk at latent `index`, clean, [1, C, n, h, w], and what is under way then, the newest chunk first.

    `under_way` is empty where a stream begins. `noise` gives that of a chunk, by its number, and a step; `enter` what
    the source gives a chunk, by its first latent; `predict` runs one pass.
    """
    number, schedule = config.grid.number(index), config.schedule
    rows = list(under_way) or [
        UnderWay(number - ahead, index, torch.zeros_like(noise(number, 0)), noise(number, 0), schedule, None)
        for ahead in range(1, len(schedule.sigmas))
    ]
    while True:
        rows.insert(0, _entering(config, rows[0].number + 1, noise, enter))
        pins = [pin.pins_of(None, row.given, row.latents) for row in rows]
        x = [
            pin.held(held, row.latents, row.noise, row.steps.sigmas[step])
            for step, (row, held) in enumerate(zip(rows, pins, strict=True))
        ]
        told = [float(row.steps.timesteps[step]) for step, row in enumerate(rows)]
        predicted = predict(torch.cat(x), told, [row.first for row in rows])
        clean = [
            sampler.predicted_x0(x[step], predicted[step : step + 1], row.steps.sigmas[step], config.prediction)
            for step, row in enumerate(rows)
        ]
        leaving = rows.pop()
        for step, row in enumerate(rows):
            new = noise(row.number, step + 1)
            rows[step] = replace(row, latents=sampler.renoised(clean[step], new, row.steps.sigmas[step + 1]), noise=new)
        if leaving.number == number:
            return pin.kept(pins[-1], clean[-1]), tuple(rows)


def _entering(
    config: RolloutConfig, number: int, noise: Callable[[int, int], Tensor], enter: Callable[[int], Given | None]
) -> UnderWay:
    """Return a chunk before its first step: noise, or its source brought to a noise level."""
    first, start = config.grid.start(number), noise(number, 0)
    given = enter(first)
    if given is None:
        return UnderWay(number, first, start, start, config.schedule, None)
    steps, level = source.steps_over(config, config.schedule, given)
    steps = replace(steps, told=tuple(map(float, steps.told)))  # as a snapshot's file has them
    return UnderWay(number, first, sampler.renoised(given.latents, start, level), start, steps, given)
