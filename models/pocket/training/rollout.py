"""Train pocket on its own rollouts, short ones and long ones: the third and fourth stage.

A batch of takes runs in step through the generator that is shipped: few-step chunks, cache, knots, switches with
recache. What is learned from them is distribution matching; the short past that a chunk is judged by is the sink and
the two newest chunks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from models import catalog
from models.cache_shape import AnchorPolicy
from models.codecs.tiny import TinyCodec
from models.cue import OnSwitch, Prompt
from models.generator import Generator
from models.pocket.training.clips import CHUNK, ClipStore
from models.pocket.training.distribution_matching import match, past_of
from models.pocket.training.stage import Pair, Save
from models.pocket.training.teacher import GrowingCache, Teacher
from models.pocket.training.teacher_forcing import Forcing, size_for
from models.pocket.world.scene import Scene, changed_scene, random_scene
from models.rollout_config import RolloutConfig
from models.state import TakeState

TAKES = 8
SHORT, LONG = 6, 80  # chunks of the longest takes of either stage


@dataclass
class SceneChunk:
    """Hold a chunk about to be drawn: the state it is drawn from, its prompts, and the clean chunks before it."""

    generator: Generator
    state: TakeState
    prompts: list[str]
    context: list[Tensor]  # sink and the two newest chunks, as far as there are any; [takes, C, 3, h, w]

    def drawn(self, student: Teacher, steps: int) -> Tensor:
        past = past_of(self.state, CHUNK)
        where = student.rotation(self.state.index, self.generator.noise(self.state, 0))
        x = self.generator.denoise(self.state, student.prompts(self.prompts), where, past, steps=steps)
        return self.generator.fuse_knot(self.state, x)[0]

    def seen_as(self, network: Teacher, x: Tensor, sigma: Tensor) -> Tensor:
        text, cache = network.prompts(self.prompts), GrowingCache(len(network.transformer.blocks))
        for i, clean in enumerate(self.context):
            network.remember(cache, CHUNK * i, clean, text)
        return network.x0(cache, CHUNK * len(self.context), x, sigma, text)


def config_for(rng: random.Random) -> RolloutConfig:
    """Choose a way of rolling out that an ablation may ask for, the shipped one most often."""
    on_switch = rng.choices([OnSwitch.RECACHE, OnSwitch.NONE, OnSwitch.FLUSH], (7, 2, 1))[0]
    return replace(
        catalog.POCKET.rollout,
        knot=rng.choice((0, 0, 1, 2)),
        sink=CHUNK if rng.random() < 0.85 else 0,
        anchor=AnchorPolicy.FIXED if rng.random() < 0.25 else AnchorPolicy.TRAILING,
        on_switch=on_switch,
    )


def rollouts(pair: Pair, codec: TinyCodec, longest: int, rng: random.Random) -> Iterator[SceneChunk]:
    """Yield takes without end, TAKES at a time, one chunk an iteration; what `pair` learns is used at once."""
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
            generator = Generator(config, transformer, text, codec)
            state = state or generator.new_take(seeds, width, height)
            cues = []
            if until_switch == 0:
                scenes = [changed_scene(s, rng) for s in scenes] if state.index else scenes
                prompts, until_switch = [s.caption(rng) for s in scenes], rng.randint(3, 10)
                cues = [Prompt(tuple(prompts))]
            generator.apply_cues(state, cues)
            newest = state.recent[-2:]
            if config.sink and first is not None and state.index > 2 * CHUNK:
                newest = [first, *newest]
            yield SceneChunk(generator, state, prompts, [t.clone() for t in newest])
            drawn = generator.draw(state)
            first = drawn if first is None else first
            until_switch -= 1


def train_rollout(
    minutes: float, start: Pair, codec: TinyCodec, save: Save, store: ClipStore, *, long: bool, seed: int = 0
) -> None:
    """Tune on own rollouts for `minutes`: takes of up to SHORT chunks, or with `long` of up to LONG."""
    torch.manual_seed(seed)
    forcing = Forcing(start, store, "written" if store.device.type == "cpu" else "padded", size_for(store.device), seed)
    takes = rollouts(start, codec, LONG if long else SHORT, random.Random(seed))
    match("long" if long else "rollout", minutes, start, save, Teacher, takes, lambda _: forcing.loss(own=False), seed)
