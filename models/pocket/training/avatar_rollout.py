"""Train pocket-avatar on its own rollouts, with knots and a reference that runs ahead.

Takes begin as a clip's reference and are driven by what drove clips, one behind the other; each chunk starts from the
knot that the chunk before it has really held back. What is learned from them is distribution matching; a chunk is
judged as it is shown, by the reference and the two chunks before it, so that a border that jumps is pulled even.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models import catalog
from models.cache_shape import ReferenceRule
from models.catalog import AVATAR_PROMPT as PROMPT
from models.codecs.tiny import TinyCodec
from models.cue import Prompt
from models.generator import Generator
from models.pocket.training.avatar import (
    PAST,
    AvatarTeacher,
    ReferenceCache,
    avatar_forcing,
    held_knots,
    sample_batch,
)
from models.pocket.training.avatar_clips import CHUNK, AvatarClip
from models.pocket.training.distribution_matching import match, past_of
from models.pocket.training.stage import Pair, Save
from models.pocket.training.teacher import jittered
from models.state import TakeState
from models.transformer import with_mask

TAKES, LONGEST = 8, 20  # chunks of the longest take, ten seconds


@dataclass
class PortraitChunk:
    """Hold a chunk about to be drawn: its take's state, and the driving tokens of chunk and knot."""

    generator: Generator
    state: TakeState
    reference: Tensor  # [takes, C, 1, h, w]
    drive: Tensor
    gap: int  # latents from the newest to the reference

    def drawn(self, student: AvatarTeacher, steps: int) -> Tensor:
        past, text = past_of(self.state, CHUNK), student.prompts([PROMPT])
        where = student.rotation(self.state.index, self.generator.noise(self.state, 0))
        x = self.generator.denoise(self.state, text, where, past, self.drive, steps)
        return self.generator.fuse_knot(self.state, x)[0]

    def seen_as(self, network: AvatarTeacher, x: Tensor, sigma: Tensor) -> Tensor:
        cache, text = ReferenceCache(len(network.transformer.blocks)), network.prompts([PROMPT])
        clean, zero = self.reference, torch.zeros(1, device=x.device)
        network.transformer(
            with_mask(network.transformer, clean, 1), zero, text, network.rotation(0, clean), cache, head=False
        )
        ahead = x.shape[2] - 1 + self.gap
        first = 0
        for chunk, drive in zip(self.state.recent[-PAST:], self.state.driven[-PAST:], strict=True):
            cache.placed = network.rotation(first + ahead, clean)
            network.remember_driven(cache, first, chunk.clone(), text, drive.clone())
            first += CHUNK
        cache.placed = network.rotation(first + ahead, clean)
        where = network.rotation(first, x)
        prediction = network.transformer(
            with_mask(network.transformer, x, 0), 1000 * sigma, text, where, cache, drive=self.drive
        )
        assert prediction is not None
        return prediction


def rollouts(pair: Pair, codec: TinyCodec, clips: list[AvatarClip], rng: random.Random) -> Iterator[PortraitChunk]:
    """Yield one chunk at a time of endless takes drawn in batches; the weights of `pair` are used as they are."""
    transformer, text = pair
    width, height = catalog.AVATAR.size
    while True:
        gap, knot = rng.choice((1, 2, 2, 4)), rng.choice((0, 1, 1, 2))
        config = replace(catalog.AVATAR.rollout, knot=knot, reference=ReferenceRule("gap", gap=gap))
        length = min(LONGEST, int(4 * (LONGEST / 4) ** rng.random()) + 1)
        chosen = [rng.choice(clips) for _ in range(TAKES)]
        reference = torch.stack([c.reference for c in chosen]).float().to(transformer.device)
        drives = [_driven(clips, CHUNK * length + knot, rng) for _ in range(TAKES)]
        drive = torch.stack(drives).float().to(transformer.device)
        generator = Generator(config, transformer, text, codec)
        state = generator.new_take(tuple(rng.randrange(2**31) for _ in chosen), width, height)
        generator.apply_cues(state, [Prompt(PROMPT)])
        generator.set_reference(state, reference)
        for _ in range(length):
            generator.apply_cues(state)
            heard = drive[:, state.index : state.index + CHUNK + knot]
            yield PortraitChunk(generator, state, reference, heard, gap)
            generator.draw(state, drive=heard)


def _driven(clips: list[AvatarClip], latents: int, rng: random.Random) -> Tensor:
    """Return driving tokens [latents, 7, 64] of clips, one behind the other."""
    pieces: list[Tensor] = []
    while sum(map(len, pieces)) < latents:
        pieces.append(rng.choice(clips).drive)
    return torch.cat(pieces)[:latents]


def train_avatar_rollout(
    minutes: float, start: Pair, codec: TinyCodec, save: Save, clips: list[AvatarClip], *, seed: int = 0
) -> None:
    """Tune on own rollouts of up to LONGEST chunks for `minutes`."""
    torch.manual_seed(seed)
    rng, draws = random.Random(seed), np.random.default_rng(seed)

    def forced(student: AvatarTeacher) -> Tensor:
        batch = sample_batch(clips, rng).to(start[0].device)
        context = jittered(batch.chunks, draws)
        return avatar_forcing(student, batch, context, held_knots(batch, context), draws)

    match("rollout", minutes, start, save, AvatarTeacher, rollouts(start, codec, clips, rng), forced, seed)
