"""Second stage of pocket's training: the causal transformer and its text encoder.

Teacher forcing through the code that runs at inference: chunk by chunk, a pass over the noised chunk sees the clean
chunks before it through a cache that concatenates, then a clean pass (timestep 0) leaves the keys and values that later
chunks see. Half of the batches denoise a knot of one or two latents past the end of every chunk. In the second half of
the time two batches in five see their context as the model itself predicts it (resampled context), so that its own
small errors are nothing new to it.

What no caption says, the noise of a take's first chunk decides: in training its sign is chosen so that the mean of
noise channel i agrees with the clip's i-th unsaid fact (a coupling; over all clips the noise stays standard normal).
A few-step model then need not average over worlds, and a seed shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from models import catalog
from models.cache_protocol import Cache, KeysValues, Visible
from models.codecs.tiny import TinyCodec
from models.pocket.training.codec import as_video
from models.pocket.training.stage import Pair, Save, Stage
from models.pocket.world.renderer import Beat, draw_clip
from models.pocket.world.scene import UNSAID, Scene, changed_scene, random_scene
from models.rope import Rotation, rotation
from models.text.words import WordText
from models.time_grid import FRAMES_PER_LATENT, frames_before
from models.transformer import CausalWanTransformer, TextState

CHUNK, CHUNKS, BATCH = 3, 6, 12
CONFIG = catalog.POCKET.transformer
PATCH = CONFIG["patch_size"][1]
SIGMAS = (1.0, 0.9, 0.75, 0.5)


@dataclass(frozen=True)
class Clip:
    """Latents [C, 18, h, w] float16, weight of each cell [18, h, w], prompts of both scenes, first chunk of the second."""

    latents: Tensor
    weight: Tensor
    scenes: tuple[Scene, Scene]
    switch: int  # CHUNKS: no switch


@torch.no_grad()
def encode_clips(codec: TinyCodec, count: int, seed: int) -> list[Clip]:
    """Draw and encode clips of six chunks (69 frames), half of them with a switch at a chunk border."""
    rng, clips = random.Random(seed), []
    latents_per_clip = CHUNK * CHUNKS
    for _ in range(count):
        a = random_scene(rng)
        switch = rng.randrange(1, CHUNKS) if rng.random() < 0.5 else CHUNKS
        b = changed_scene(a, rng)
        beats = [Beat(0, a)] + ([Beat(frames_before(CHUNK * switch), b)] if switch < CHUNKS else [])
        clip, centres = draw_clip(beats, frames_before(latents_per_clip))
        z = codec.encode(as_video(clip[[0, 0, 0, *range(len(clip))]])[None])[0]
        cells = (torch.arange(z.shape[-1]) + 0.5) / z.shape[-1]
        at = torch.from_numpy(centres[::FRAMES_PER_LATENT].copy())
        near_x = ((cells - at[:, :1] + 0.5) % 1 - 0.5).abs() < 0.26
        near_y = (cells - at[:, 1:]).abs() < 0.26
        weight = 1 + 5.0 * (near_y[:, :, None] & near_x[:, None, :])
        clips.append(Clip(z.half(), weight.half(), (a, b), switch))
    return clips


class GrowingCache:
    """Keys and values of the clean chunks so far, by concatenation; gradients pass."""

    def __init__(self, layers: int) -> None:
        self.seen: list[list[KeysValues]] = [[] for _ in range(layers)]
        self.clean = False  # whether the pass under way leaves its keys and values

    def forget(self) -> None:
        self.seen = [[] for _ in self.seen]

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        own = rotation(key), value
        keys, values = (torch.cat([*(c[i] for c in self.seen[layer]), own[i]], 1) for i in (0, 1))
        if self.clean:
            self.seen[layer].append(own)
        return Visible(keys, values)


@dataclass
class Batch:
    """Four chunks of each clip, knot included: its first, then three neighbours; all [B, ...]."""

    chunks: list[Tensor]  # 4 x [B, C, 3 + knot, h, w]
    weights: list[Tensor]  # 4 x [B, 1, 3 + knot, h, w]
    clean_prompts: list[list[str]]
    noisy_prompts: list[list[str]]
    counts: list[Tensor]  # 4 x [B]: 1 where the loss counts
    unsaid: Tensor  # [B, facts]: +1 or -1
    far: int  # latents between the first chunk's coordinate and the place just before its followers: anchor policy `fixed`
    sink: bool  # whether later chunks see the first

    def to(self, device: torch.device) -> Batch:
        chunks, weights, counts = ([t.to(device) for t in ts] for ts in (self.chunks, self.weights, self.counts))
        return replace(self, chunks=chunks, weights=weights, counts=counts, unsaid=self.unsaid.to(device))


def sample_batch(clips: list[Clip], rng: random.Random) -> Batch:
    chosen = [rng.choice(clips) for _ in range(BATCH)]
    far = int(3 * 10 ** rng.uniform(0, 3)) if rng.random() < 0.25 else 0
    sink = rng.random() < 0.85
    knot = rng.choice((0, 0, 1, 2))
    firsts = [rng.choice((1, 1, 1, 2) if knot else (1, 1, 1, 2, 3)) for _ in chosen]
    chunks, weights, clean, noisy, counts = [], [], [], [], []
    captions = [[s.caption(rng) for s in clip.scenes] for clip in chosen]
    recached = [clip.switch < CHUNKS and rng.random() < 0.75 for clip in chosen]
    recached_sink = [r and rng.random() < 0.5 for r in recached]
    for slot in range(4):
        where = [0 if slot == 0 else f + slot - 1 for f in firsts]
        spans = [(c, slice(CHUNK * w, CHUNK * (w + 1) + knot)) for c, w in zip(chosen, where, strict=True)]
        chunks.append(torch.stack([c.latents[:, span] for c, span in spans]).float())
        weights.append(torch.stack([c.weight[span] for c, span in spans]).float()[:, None])
        after = [w >= c.switch for c, w in zip(chosen, where, strict=True)]
        new_context = recached_sink if slot == 0 else recached
        clean.append([t[int(a or r)] for t, a, r in zip(captions, after, new_context, strict=True)])
        noisy.append([t[int(a)] for t, a in zip(captions, after, strict=True)])
        # a recached context belongs to what follows the switch; the chunk after a gap has no true past; a knot does
        # not know yet of a switch behind it
        good = [
            (a or not r or slot == 0)
            and not (slot == 1 and (f > 1 or far > 0 or not sink))
            and not (knot > 0 and w + 1 == c.switch)
            for c, w, a, r, f in zip(chosen, where, after, recached, firsts, strict=True)
        ]
        counts.append(torch.tensor(good).float())
    facts = [[1.0 if getattr(c.scenes[0], f) == values[1] else -1.0 for f, values in UNSAID.items()] for c in chosen]
    return Batch(chunks, weights, clean, noisy, counts, torch.tensor(facts), far, sink)


def coupled(noise: Tensor, unsaid: Tensor) -> Tensor:
    """`noise` [B, C, T, h, w] with channel i negated where its mean disagrees with unsaid[:, i] (±1)."""
    n = unsaid.shape[1]
    means = noise[:, :n].mean((2, 3, 4))
    signs = torch.where(means * unsaid < 0, -1.0, 1.0)
    return torch.cat([noise[:, :n] * signs[:, :, None, None, None], noise[:, n:]], 1)


def noised(x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The flow path x_t = (1 - t)·x + t·noise; sigma [B]."""
    s = sigma.view(-1, 1, 1, 1, 1)
    return (1 - s) * x + s * noise


class Teacher:
    """The transformer and its text encoder over chunks whose past is clean; gradients pass."""

    def __init__(self, transformer: CausalWanTransformer, text: WordText) -> None:
        self.transformer, self.text = transformer, text

    def prompts(self, prompts: list[str]) -> TextState:
        return self.transformer.embed_text(self.text(prompts))

    def rotation(self, first: int, latents: Tensor) -> Rotation:
        f, h, w = latents.shape[-3:]
        head_dim = self.transformer.config.attention_head_dim
        return rotation(range(first, first + f), h // PATCH, w // PATCH, head_dim, latents.device)

    def remember(self, cache: GrowingCache, first: int, clean: Tensor, text: TextState) -> None:
        """The clean pass over a chunk at coordinate `first`: its keys and values are seen from here on."""
        cache.clean = True
        time = torch.zeros(1, device=clean.device)
        self.transformer(clean, time, text, self.rotation(first, clean), cache, head=False)
        cache.clean = False

    def x0(self, cache: Cache, first: int, noisy: Tensor, sigma: Tensor, text: TextState) -> Tensor:
        """The clean latents that a chunk noised to sigma [B] is taken for."""
        prediction = self.transformer(noisy, 1000 * sigma, text, self.rotation(first, noisy), cache)
        assert prediction is not None
        return prediction

    def predict(self, batch: Batch, context: list[Tensor], sigmas: list[Tensor]) -> list[Tensor]:
        """x0 predictions of the noised chunks; `context` are the clean copies that later chunks see."""
        cache, out = GrowingCache(len(self.transformer.blocks)), []
        for slot, (chunk, sigma) in enumerate(zip(batch.chunks, sigmas, strict=True)):
            noise = torch.randn_like(chunk)
            if slot == 0:  # from pure noise only: later steps see the choice in their estimate
                agreeing = torch.cat([coupled(noise[:, :, :CHUNK], batch.unsaid), noise[:, :, CHUNK:]], 2)
                noise = torch.where((sigma == 1).view(-1, 1, 1, 1, 1), agreeing, noise)
            first, text = CHUNK * slot + (batch.far if slot else 0), self.prompts(batch.noisy_prompts[slot])
            out.append(self.x0(cache, first, noised(chunk, noise, sigma), sigma, text))
            if slot == 3:
                break
            if batch.clean_prompts[slot] != batch.noisy_prompts[slot]:
                text = self.prompts(batch.clean_prompts[slot])
            self.remember(cache, first, context[slot][:, :, :CHUNK], text)
            if slot == 0 and not batch.sink:
                cache.forget()
        return out


def teacher_forcing(teacher: Teacher, batch: Batch, context: list[Tensor], draws: np.random.Generator) -> Tensor:
    """The loss of a batch: squared error of x0, heavier near the subject, lighter where the noise hides more."""
    device = batch.chunks[0].device
    sigmas = [sampled_sigmas(draws).to(device) for _ in batch.chunks]
    predictions = teacher.predict(batch, context, sigmas)
    losses = [
        ((p - c).square() * w).mean((1, 2, 3, 4)) / (s + 0.15) ** 0.7 * good
        for p, c, w, s, good in zip(predictions, batch.chunks, batch.weights, sigmas, batch.counts, strict=True)
    ]
    return torch.stack(losses).sum() / torch.stack(batch.counts).sum().clamp(min=1)


def jittered(chunks: list[Tensor], draws: np.random.Generator) -> list[Tensor]:
    """Clean chunks with a little noise, as what a model draws is never quite clean."""
    return [c + 0.1 * draws.random() * torch.randn_like(c) for c in chunks]


def sampled_sigmas(rng: np.random.Generator) -> Tensor:
    u = rng.random(BATCH)
    spread = 3 * u / (1 + 2 * u)
    return torch.from_numpy(np.where(rng.random(BATCH) < 0.7, rng.choice(SIGMAS, BATCH), spread)).float()


def train_base(minutes: float, pair: Pair, save: Save, clips: list[Clip], *, fresh: bool, seed: int = 0) -> None:
    """Train for `minutes`; weights that are not `fresh` are changed more gently."""
    torch.manual_seed(seed)
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    stage = Stage("base", minutes, pair, save, peak=1.0 if fresh else 0.7)
    teacher = Teacher(*pair)
    pair[0].compile_blocks()
    for done in stage.steps():
        batch = sample_batch(clips, rng).to(pair[0].device)
        context = jittered(batch.chunks, draws)
        if done > 0.5 and rng.random() < 0.4:
            with torch.no_grad():
                own = teacher.predict(batch, context, [torch.full_like(batch.counts[0], rng.choice(SIGMAS))] * 4)
            context = [o if rng.random() < 0.8 else c for o, c in zip(own, context, strict=True)]
        stage.down(teacher_forcing(teacher, batch, context, draws))
