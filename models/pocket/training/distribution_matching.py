"""Match distributions on own rollouts: the part that pocket's and pocket-avatar's last stages share.

For the newest chunk of a take, one step of the schedule is repeated with gradients over the cached past as constants,
so memory does not grow with a take's length (streaming long tuning, LongLive 2509.22622). The loss is distribution
matching (2311.18828): noised to a random level, the chunk is moved from where a network that follows the generator's
own output would put it to where the frozen network of the stage's start puts it. Both see the newest chunks before it
as a short clip. One step in three is teacher forcing on clips of the world, so that nothing learned there is lost.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from models.cache_protocol import KeysValues, Visible
from models.pocket.training.layout import SIGMAS
from models.pocket.training.stage import Descent, Pair, Save, Stage
from models.pocket.training.teacher import Teacher, noised
from models.rope import Rotation
from models.state import TakeState

Network = TypeVar("Network", bound=Teacher)
Seeing = TypeVar("Seeing", bound=Teacher, contravariant=True)


class PastCache:
    """Give past keys and values as constants, a pass's own behind them."""

    def __init__(self, past: list[KeysValues]) -> None:
        self._past = past

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Return the layer's past with a pass's own keys and values behind it."""
        keys, values = self._past[layer]
        return Visible(torch.cat([keys, rotation(key)], 1), torch.cat([values, value], 1))

    def past(self) -> KeysValues:
        """Return the past of all layers, [layers, batch, P, heads, d]."""
        keys, values = zip(*self._past, strict=True)
        return torch.stack(keys), torch.stack(values)


def past_of(state: TakeState, latents: int) -> PastCache:
    """Return what the next chunk sees."""
    with torch.inference_mode():  # the cache's buffers were made in it; the copies are ordinary tensors
        state.cache.begin(state.index, latents)
    keys, values = state.cache.past()
    state.cache.end()
    return PastCache(list(zip(keys, values, strict=True)))


class Newest(Protocol[Seeing]):
    """Stand for a chunk about to be drawn, of takes that run in step."""

    def drawn(self, student: Seeing, steps: int) -> Tensor:
        """Return the chunk and knot after `steps` steps, [takes, C, chunk + knot, h, w]; the last carries gradients."""

    def seen_as(self, network: Seeing, x: Tensor, sigma: Tensor) -> Tensor:
        """Return what a network takes the chunk for, noised to sigma [takes], its short past at timestep 0."""


def match(
    name: str,
    minutes: float,
    start: Pair,
    save: Save,
    teacher: Callable[..., Network],
    takes: Iterator[Newest[Network]],
    forced: Callable[[Network], Tensor],
    seed: int,
) -> None:
    """Tune `start` for `minutes` on `takes`, which it draws itself; `forced` is the loss of a batch of the world."""
    rng = random.Random(f"match {seed}")  # another stream than the takes have
    real, follower = (teacher(*copy.deepcopy(start)) for _ in range(2))
    student = teacher(*start)
    following = Descent((follower.transformer, follower.text), peak=0.2)
    stage = Stage(name, minutes, start, save, peak=0.1)
    for count, _ in enumerate(stage.steps()):
        if count % 3 == 2:
            stage.down(forced(student))
            continue
        newest = next(takes)
        x0 = newest.drawn(student, rng.randint(1, len(SIGMAS)))
        sigma = torch.empty(len(x0), device=x0.device).uniform_(0.2, 0.98)
        fixed = x0.detach()
        x = noised(fixed, torch.randn_like(fixed), sigma)
        with torch.no_grad():
            towards = newest.seen_as(real, x, sigma)
        following.rate(1.0)
        guess = newest.seen_as(follower, x, sigma)
        following.down(((guess - fixed).square().mean((1, 2, 3, 4)) / (sigma + 0.15) ** 0.7).mean())
        pull = guess.detach() - towards
        pull = pull / (fixed - towards).abs().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-3)
        stage.down(0.5 * (x0 - (fixed - pull)).square().mean())
