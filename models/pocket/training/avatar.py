"""Train pocket-avatar: pocket's transformer with a mask channel, a reference that runs ahead, and a drive.

Teacher forcing as for pocket, over four neighbouring chunks of a clip: a pass over the noised chunk and its knot sees
the reference, the two clean chunks before it and the latents' driving tokens. The reference is the clip's last frame
and stands a few latents in front of the newest one, so that it is always in the future (arXiv 2512.21734). The first
latents of a chunk are given, as a held knot would be: the truth with a little noise, or the model's own prediction;
those of a clip's first chunk are the truth, as a take begins with its portrait.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models import catalog
from models.cache_protocol import KeysValues, Visible
from models.catalog import AVATAR_PROMPT as PROMPT
from models.pocket.training.avatar_clips import CHUNK, CHUNKS, AvatarClip
from models.pocket.training.layout import SIGMAS
from models.pocket.training.stage import Pair, Save, Stage
from models.pocket.training.teacher import Teacher, jittered, noised, sampled_sigmas
from models.pocket.weights import build_transformer, load_transformer
from models.rope import Rotation
from models.transformer import TextState, with_mask

BATCH = 12
SLOTS, PAST = 4, 2  # chunks of a batch, and how many of them a later one sees


class ReferenceCache:
    """Hold the reference, rotated to the coordinate of each pass, and the newest clean chunks; gradients pass."""

    def __init__(self, layers: int) -> None:
        self.reference: list[KeysValues] = []
        self.past: list[list[KeysValues]] = [[] for _ in range(layers)]
        self.placed: Rotation | None = None  # None: the pass is the reference's own
        self.clean = False  # whether the pass under way leaves its keys and values

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        if self.placed is None:
            self.reference.append((key, value))
            return Visible(rotation(key), value)
        own = rotation(key), value
        anchor = self.reference[layer]
        keys = torch.cat([self.placed(anchor[0]), *(k for k, _ in self.past[layer]), own[0]], 1)
        values = torch.cat([anchor[1], *(v for _, v in self.past[layer]), own[1]], 1)
        if self.clean:
            self.past[layer] = [*self.past[layer], own][-PAST:]
        return Visible(keys, values)


def build(first: Path) -> Pair:
    """Build pocket-avatar's networks from pocket's transformer in the file `first`; missing parts are new.

    The way from a video's past to its next chunk is much the same in either world.
    """
    transformer, text = build_transformer(
        catalog.AVATAR.transformer, tuple(sorted(PROMPT.split())), catalog.AVATAR.driving_features
    )
    with torch.no_grad():
        known = load_transformer(first)[0].state_dict()
        for name, weight in transformer.state_dict().items():
            if (from_pocket := known.get(name)) is not None:
                into = weight if weight.shape == from_pocket.shape else weight[:, : from_pocket.shape[1]]
                into.copy_(from_pocket)  # the mask channel comes behind those of the latents
    return transformer, text


@dataclass
class AvatarBatch:
    """Hold SLOTS neighbouring chunks of each clip, knot included; all tensors [B, ...]."""

    chunks: list[Tensor]  # [B, C, 3 + knot, h, w]
    weights: list[Tensor]  # [B, 1, 3 + knot, h, w]
    drives: list[Tensor]  # [B, 3 + knot, 7, 64]
    reference: Tensor  # [B, C, 1, h, w]
    first: int  # chunk of the first slot
    gap: int  # latents from the newest to the reference
    knot: int
    given: bool  # whether chunks start from a knot, and a clip from its first latent

    def to(self, device: torch.device) -> AvatarBatch:
        chunks, weights, drives = ([t.to(device) for t in ts] for ts in (self.chunks, self.weights, self.drives))
        return replace(self, chunks=chunks, weights=weights, drives=drives, reference=self.reference.to(device))


def sample_batch(clips: list[AvatarClip], rng: random.Random) -> AvatarBatch:
    chosen = [rng.choice(clips) for _ in range(BATCH)]
    knot = rng.choice((0, 1, 1, 2))
    first = rng.randint(0, CHUNKS - SLOTS - (1 if knot else 0))
    spans = [slice(CHUNK * (first + i), CHUNK * (first + i + 1) + knot) for i in range(SLOTS)]
    return AvatarBatch(
        [torch.stack([c.latents[:, s] for c in chosen]).float() for s in spans],
        [torch.stack([c.weight[s] for c in chosen]).float()[:, None] for s in spans],
        [torch.stack([c.drive[s] for c in chosen]).float() for s in spans],
        torch.stack([c.reference for c in chosen]).float(),
        first,
        rng.choice((1, 2, 2, 4, rng.randint(1, 12))),
        knot,
        rng.random() < 0.85,
    )


class AvatarTeacher(Teacher):
    """Run a batch chunk by chunk; each chunk is denoised before its clean version is cached."""

    def predict_avatar(
        self, batch: AvatarBatch, context: list[Tensor], held: list[Tensor], sigmas: list[Tensor]
    ) -> list[Tensor]:
        """Predict x0 of the noised chunks, [B, C, 3 + knot, h, w] each; a first slot within a clip stands as it is.

        `context` holds the clean chunks that later ones see, `held` the knot that every slot starts from.
        """
        cache, out = ReferenceCache(len(self.transformer.blocks)), []
        text = self.prompts([PROMPT] * len(batch.reference))
        zero = torch.zeros(1, device=batch.reference.device)
        where = self.rotation(0, batch.reference)
        self.transformer(with_mask(self.transformer, batch.reference, 1), zero, text, where, cache, head=False)
        for slot, (chunk, sigma, drive) in enumerate(zip(batch.chunks, sigmas, batch.drives, strict=True)):
            first = CHUNK * (batch.first + slot)
            newest = first + CHUNK + batch.knot - 1
            cache.placed = self.rotation(newest + batch.gap, batch.reference)
            if slot == 0 and batch.first > 0:
                out.append(context[0])
            else:
                x = noised(chunk, torch.randn_like(chunk), sigma)
                given = held[slot].shape[2] if batch.given else 0
                x = torch.cat([held[slot][:, :, :given], x[:, :, given:]], 2)
                prediction = self.transformer(
                    with_mask(self.transformer, x, given),
                    1000 * sigma,
                    text,
                    self.rotation(first, x),
                    cache,
                    drive=drive,
                )
                assert prediction is not None
                out.append(prediction)
            if slot < SLOTS - 1:
                self.remember_driven(cache, first, context[slot][:, :, :CHUNK], text, drive[:, :CHUNK])
        return out

    def remember_driven(self, cache: ReferenceCache, first: int, clean: Tensor, text: TextState, drive: Tensor) -> None:
        """Run the clean pass over a chunk at coordinate `first`, whose keys and values later passes see."""
        cache.clean = True
        zero = torch.zeros(1, device=clean.device)
        where = self.rotation(first, clean)
        self.transformer(with_mask(self.transformer, clean, CHUNK), zero, text, where, cache, drive=drive, head=False)
        cache.clean = False


def train_avatar(
    minutes: float, pair: Pair, save: Save, clips: list[AvatarClip], *, fresh: bool, seed: int = 0
) -> None:
    """Train for `minutes`; from 40 % on, contexts and knots are often the model's own predictions."""
    torch.manual_seed(seed)
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    stage = Stage("avatar", minutes, pair, save, peak=1.0 if fresh else 0.7)
    teacher = AvatarTeacher(*pair)
    device = pair[0].device
    pair[0].compile_blocks()
    for done in stage.steps():
        batch = sample_batch(clips, rng).to(device)
        context = jittered(batch.chunks, draws)
        held = held_knots(batch, context)
        if done > 0.4 and rng.random() < 0.5:
            with torch.no_grad():
                sigma = torch.full((BATCH,), rng.choice(SIGMAS[1:]), device=device)
                context = teacher.predict_avatar(batch, context, held, [sigma] * SLOTS)
            held = held_knots(batch, context)
        stage.down(avatar_forcing(teacher, batch, context, held, draws))


def avatar_forcing(
    teacher: AvatarTeacher, batch: AvatarBatch, context: list[Tensor], held: list[Tensor], draws: np.random.Generator
) -> Tensor:
    """Return the loss of a batch: squared error of x0, heavier at eyes and mouth, lighter where noise hides more."""
    sigmas = [sampled_sigmas(draws, BATCH, SIGMAS).to(context[0].device) for _ in batch.chunks]
    predictions = teacher.predict_avatar(batch, context, held, sigmas)
    losses = [
        ((p - c).square() * w).mean((1, 2, 3, 4)) / (s + 0.15) ** 0.7
        for slot, (p, c, w, s) in enumerate(zip(predictions, batch.chunks, batch.weights, sigmas, strict=True))
        if slot > 0 or batch.first == 0
    ]
    return torch.stack(losses).mean()


def held_knots(batch: AvatarBatch, context: list[Tensor]) -> list[Tensor]:
    """Return the knot that each slot's predecessor predicted behind its end; a clip's first slot has none."""
    own = batch.chunks[0][:, :, : max(1, batch.knot)]
    return [own, *(c[:, :, CHUNK:] for c in context[:-1])]
