"""Third and fourth stage of pocket's training: on its own rollouts, short ones and long ones.

A batch of takes runs in step through the generator that is shipped: few-step chunks, cache, knots, switches with
recache. Of the newest chunk alone, one step of the schedule is repeated with gradients over the cached past, as
constants, so memory does not grow with a take's length (streaming long tuning, LongLive 2509.22622). The loss is
distribution matching (2311.18828): noised to a random level, the chunk is
moved from where a network that follows the generator's own output would put it to where the frozen network of the
stage's start puts it. Both see the sink and the two newest chunks as a short clip. One step in three is teacher forcing
on clips of the world, so that nothing learned there is lost.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models import catalog
from models.cache_shape import AnchorPolicy
from models.codecs.tiny import TinyCodec, TinyStream
from models.cue import OnSwitch, Prompt
from models.generator import Generator
from models.pocket.scene import Scene, changed_scene, random_scene
from models.pocket.stage import Descent, Pair, Save, Stage
from models.pocket.train_base import CHUNK, SIGMAS, Clip, GrowingCache, Teacher, noised, sample_batch, teacher_forcing
from models.rollout_config import RolloutConfig
from models.rope import Rotation
from models.state import TakeState
from models.transformer import KeysValues

TAKES = 8
SHORT, LONG = 6, 80  # chunks of the longest takes of either stage


class PastCache:
    """Past keys and values as constants, a pass's own behind them."""

    def __init__(self, past: list[KeysValues]) -> None:
        self.past = past

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> KeysValues:
        keys, values = self.past[layer]
        return torch.cat([keys, rotation(key)], 1), torch.cat([values, value], 1)


@dataclass
class Newest:
    """A chunk about to be drawn: the state it is drawn from, its prompts, and the clean chunks that stand before it."""

    generator: Generator
    state: TakeState
    prompts: list[str]
    context: list[Tensor]  # sink and the two newest chunks, as far as there are any; [takes, C, 3, h, w]


def config_for(rng: random.Random) -> RolloutConfig:
    """Ways of rolling out that an ablation may ask for, the shipped one most often."""
    on_switch = rng.choices([OnSwitch.RECACHE, OnSwitch.NONE, OnSwitch.FLUSH], (7, 2, 1))[0]
    return replace(
        catalog.POCKET.rollout,
        knot=rng.choice((0, 0, 1, 2)),
        sink=CHUNK if rng.random() < 0.85 else 0,
        anchor=AnchorPolicy.FIXED if rng.random() < 0.25 else AnchorPolicy.TRAILING,
        on_switch=on_switch,
    )


def rollouts(pair: Pair, codec: TinyCodec, longest: int, rng: random.Random) -> Iterator[Newest]:
    """Takes without end, TAKES at a time, one chunk an iteration; whatever `pair` learns meanwhile is used at once."""
    transformer, text = pair
    width, height = catalog.POCKET.size
    while True:
        config = config_for(rng)
        length = min(longest, int(4 * (longest / 4) ** rng.random()) + 1)
        scenes: list[Scene] = [random_scene(rng) for _ in range(TAKES)]
        seeds = tuple(rng.randrange(2**31) for _ in scenes)
        state, first, until_switch = None, None, 0
        prompts: list[str] = []
        for _ in range(length):
            # a new one each time: it remembers prompts as the text encoder of that moment gave them
            generator = Generator(config, transformer, text, lambda: TinyStream(codec), catalog.POCKET.stride)
            state = state or generator.new_take(seeds, width, height)
            cues = []
            if until_switch == 0:
                scenes = [changed_scene(s, rng) for s in scenes] if state.index else scenes
                prompts, until_switch = [s.caption(rng) for s in scenes], rng.randint(3, 10)
                cues = [Prompt(tuple(prompts))]
            generator.land(state, cues)
            newest = state.recent[-2:]
            if config.sink and first is not None and state.index > 2 * CHUNK:
                newest = [first, *newest]
            yield Newest(generator, state, prompts, [t.clone() for t in newest])
            drawn = generator.draw(state)
            first = drawn if first is None else first
            until_switch -= 1


def own_chunk(newest: Newest, student: Teacher, step: int) -> Tensor:
    """The newest chunk after `step` steps, [takes, C, chunk + knot, h, w]; the last step carries gradients."""
    state = newest.state
    with torch.inference_mode():  # the cache's buffers were made in it; the copies are ordinary tensors
        state.cache.begin(state.index)
    keys, values = state.cache.past()
    state.cache.end()
    past = list(zip(keys, values, strict=True))
    where = student.rotation(state.index, newest.generator.noise(state, 0))
    return newest.generator.denoised(state, student.prompts(newest.prompts), where, PastCache(past), steps=step)


def seen_as(network: Teacher, newest: Newest, x: Tensor, sigma: Tensor) -> Tensor:
    """What a network takes the noised newest chunk for, its short past at timestep 0."""
    text, cache = network.prompts(newest.prompts), GrowingCache(len(network.transformer.blocks))
    for i, clean in enumerate(newest.context):
        network.remember(cache, CHUNK * i, clean, text)
    return network.x0(cache, CHUNK * len(newest.context), x, sigma, text)


def train_rollout(
    minutes: float, start: Pair, codec: TinyCodec, save: Save, clips: list[Clip], *, long: bool, seed: int = 0
) -> None:
    """Tune on own rollouts for `minutes`: takes of up to SHORT chunks, or with `long` of up to LONG."""
    torch.manual_seed(seed)
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    real, follower = (Teacher(*copy.deepcopy(start)) for _ in range(2))
    student = Teacher(*start)
    following = Descent((follower.transformer, follower.text), peak=0.2)
    stage = Stage("long" if long else "rollout", minutes, start, save, peak=0.1)
    takes = rollouts(start, codec, LONG if long else SHORT, rng)
    for count, _ in enumerate(stage.steps()):
        if count % 3 == 2:
            batch = sample_batch(clips, rng).to(start[0].device)
            context = [c + 0.1 * draws.random() * torch.randn_like(c) for c in batch.chunks]
            stage.down(teacher_forcing(student, batch, context, draws))
            continue
        newest = next(takes)
        x0 = own_chunk(newest, student, rng.randint(1, len(SIGMAS)))
        sigma = torch.empty(TAKES, device=x0.device).uniform_(0.2, 0.98)
        fixed = x0.detach()
        x = noised(fixed, torch.randn_like(fixed), sigma)
        with torch.no_grad():
            towards = seen_as(real, newest, x, sigma)
        following.rate(1.0)
        guess = seen_as(follower, newest, x, sigma)
        following.down(((guess - fixed).square().mean((1, 2, 3, 4)) / (sigma + 0.15) ** 0.7).mean())
        pull = guess.detach() - towards
        pull = pull / (fixed - towards).abs().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-3)
        stage.down(0.5 * (x0 - (fixed - pull)).square().mean())
