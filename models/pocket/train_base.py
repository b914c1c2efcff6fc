"""Second stage of pocket's training: the causal transformer and its text encoder.

Teacher forcing through the code that runs at inference: chunk by chunk, each forward pass carries a clean copy
(timestep 0; its keys and values are what later chunks see) and a noised copy of the chunk, and a cache that
concatenates. In the second half of the time two batches in five see their context as the model itself predicts it
(resampled context), so that its own small errors are nothing new to it.

What no caption says, the noise of a take's first chunk decides: in training its sign is chosen so that the mean of
noise channel i agrees with the clip's i-th unsaid fact (a coupling; over all clips the noise stays standard normal).
A few-step model then need not average over worlds, and a seed shows.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models import catalog
from models.codecs.tiny import TinyCodec
from models.pocket.scene import UNSAID, Scene, changed_scene, random_scene
from models.pocket.train_codec import as_video, optimisers
from models.pocket.world import Beat, draw_clip
from models.rope import Rotation, rotation
from models.text.words import WordText
from models.transformer import CausalWanTransformer, KeysValues, TextState

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
        beats = [Beat(0, a)] + ([Beat(12 * switch - 3, b)] if switch < CHUNKS else [])
        clip, centres = draw_clip(beats, 4 * (latents_per_clip - 1) + 1)
        z = codec.encode(as_video(clip[[0, 0, 0, *range(len(clip))]])[None])[0]
        cells = (torch.arange(z.shape[-1]) + 0.5) / z.shape[-1]
        at = torch.from_numpy(centres[::4].copy())
        near_x = ((cells - at[:, :1] + 0.5) % 1 - 0.5).abs() < 0.26
        near_y = (cells - at[:, 1:]).abs() < 0.26
        weight = 1 + 5.0 * (near_y[:, :, None] & near_x[:, None, :])
        clips.append(Clip(z.half(), weight.half(), (a, b), switch))
    return clips


class GrowingCache:
    """Keys and values of the clean chunks so far, by concatenation; gradients pass."""

    def __init__(self, layers: int, clean_rows: int) -> None:
        self.seen: list[list[KeysValues]] = [[] for _ in range(layers)]
        self.clean_rows = clean_rows

    def forget(self) -> None:
        self.seen = [[] for _ in self.seen]

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> KeysValues:
        key = rotation(key)
        context, n = self.seen[layer], key.shape[0]
        keys, values = (
            torch.cat([*(c[i].repeat(n // c[i].shape[0], 1, 1, 1) for c in context), own], 1)
            for i, own in enumerate((key, value))
        )
        self.seen[layer] = [*context, (key[: self.clean_rows], value[: self.clean_rows])]
        return keys, values


@dataclass
class Batch:
    """Four chunks of each clip: its first, then three neighbours; all [B, ...]."""

    chunks: list[Tensor]  # 4 x [B, C, 3, h, w]
    weights: list[Tensor]  # 4 x [B, 1, 3, h, w]
    clean_prompts: list[list[str]]
    noisy_prompts: list[list[str]]
    counts: list[Tensor]  # 4 x [B]: 1 where the loss counts
    unsaid: Tensor  # [B, facts]: +1 or -1
    far: int  # latents between the first chunk's coordinate and the place just before its followers: anchor policy `fixed`
    sink: bool  # whether later chunks see the first


def sample_batch(clips: list[Clip], rng: random.Random) -> Batch:
    chosen = [rng.choice(clips) for _ in range(BATCH)]
    far = int(3 * 10 ** rng.uniform(0, 3)) if rng.random() < 0.25 else 0
    sink = rng.random() < 0.85
    firsts = [rng.choice((1, 1, 1, 2, 3)) for _ in chosen]
    chunks, weights, clean, noisy, counts = [], [], [], [], []
    captions = [[s.caption(rng) for s in clip.scenes] for clip in chosen]
    recached = [clip.switch < CHUNKS and rng.random() < 0.75 for clip in chosen]
    recached_sink = [r and rng.random() < 0.5 for r in recached]
    for slot in range(4):
        where = [0 if slot == 0 else f + slot - 1 for f in firsts]
        chunks.append(
            torch.stack([c.latents[:, 3 * w : 3 * w + 3] for c, w in zip(chosen, where, strict=True)]).float()
        )
        weights.append(
            torch.stack([c.weight[3 * w : 3 * w + 3] for c, w in zip(chosen, where, strict=True)]).float()[:, None]
        )
        after = [w >= c.switch for c, w in zip(chosen, where, strict=True)]
        new_context = recached_sink if slot == 0 else recached
        clean.append([t[int(a or r)] for t, a, r in zip(captions, after, new_context, strict=True)])
        noisy.append([t[int(a)] for t, a in zip(captions, after, strict=True)])
        # a recached context belongs to what follows the switch; the chunk after a gap has no true past
        good = [
            (a or not r or slot == 0) and not (slot == 1 and (f > 1 or far > 0 or not sink))
            for a, r, f in zip(after, recached, firsts, strict=True)
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
    """Runs a batch chunk by chunk through the transformer, clean and noised copies side by side."""

    def __init__(self, transformer: CausalWanTransformer, text: WordText) -> None:
        self.transformer, self.text = transformer, text

    def prompts(self, prompts: list[str]) -> TextState:
        return self.transformer.embed_text(self.text(prompts))

    def predict(self, batch: Batch, context: list[Tensor], sigmas: list[Tensor]) -> list[Tensor]:
        """x0 predictions of the noised chunks; `context` are the clean copies that later chunks see."""
        n, rows, columns = BATCH, batch.chunks[0].shape[-2] // PATCH, batch.chunks[0].shape[-1] // PATCH
        head_dim = self.transformer.config.attention_head_dim
        cache = GrowingCache(len(self.transformer.blocks), n)
        out = []
        for slot, (chunk, sigma) in enumerate(zip(batch.chunks, sigmas, strict=True)):
            noise = torch.randn_like(chunk)
            if slot == 0:  # from pure noise only: later steps see the choice in their estimate
                noise = torch.where((sigma == 1).view(-1, 1, 1, 1, 1), coupled(noise, batch.unsaid), noise)
            noisy = noised(chunk, noise, sigma)
            first = 3 * slot + (batch.far if slot else 0)
            where = rotation(range(first, first + 3), rows, columns, head_dim, chunk.device)
            if slot < 3:
                text = self.prompts(batch.clean_prompts[slot] + batch.noisy_prompts[slot])
                x, t = torch.cat([context[slot], noisy]), torch.cat([torch.zeros_like(sigma), sigma])
            else:
                text, x, t = self.prompts(batch.noisy_prompts[slot]), noisy, sigma
            prediction = self.transformer(x, t * 1000, text, where, cache)
            assert prediction is not None
            out.append(prediction[-n:])
            if slot == 0 and not batch.sink:
                cache.forget()
        return out


def _sigmas(rng: np.random.Generator) -> Tensor:
    u = rng.random(BATCH)
    spread = 3 * u / (1 + 2 * u)
    return torch.from_numpy(np.where(rng.random(BATCH) < 0.7, rng.choice(SIGMAS, BATCH), spread)).float()


def train_base(
    minutes: float,
    start: tuple[CausalWanTransformer, WordText] | None,
    fresh: Callable[[], tuple[CausalWanTransformer, WordText]],
    save: Callable[[CausalWanTransformer, WordText, dict[str, float]], None],
    clips: list[Clip],
    seed: int = 0,
) -> None:
    """Train for `minutes`; `save` gets the averaged weights every five minutes and at the end."""
    torch.manual_seed(seed)
    rng, draws = random.Random(seed), np.random.default_rng(seed)
    transformer, text = start or fresh()
    both = nn.ModuleList([transformer, text])
    average = copy.deepcopy(transformer), copy.deepcopy(text)
    averaged = [p for module in average for p in module.parameters()]
    teacher = Teacher(transformer, text)
    transformer.compile_blocks()
    optims = optimisers(both, 0.02, 2e-3, matrix=lambda n, p: ".blocks." in n and p.ndim == 2)
    bases = [g["lr"] for o in optims for g in o.param_groups]
    peak = 1.0 if start is None else 0.7
    spent, step, said, saved = 0.0, 0, 0.0, 0.0
    while (done := spent / minutes) < 1:
        began = time.monotonic()
        rate = peak * min(1.0, (step + 1) / 40) * min(1.0, max(0.02, (1 - done) / 0.55))
        for optim, base in zip(optims, bases, strict=True):
            optim.param_groups[0]["lr"] = base * rate
        batch = sample_batch(clips, rng)
        context = [c + 0.1 * draws.random() * torch.randn_like(c) for c in batch.chunks]
        if done > 0.5 and rng.random() < 0.4:
            with torch.no_grad():
                own = teacher.predict(batch, context, [torch.full((BATCH,), rng.choice(SIGMAS)) for _ in range(4)])
            context = [o if rng.random() < 0.8 else c for o, c in zip(own, context, strict=True)]
        sigmas = [_sigmas(draws) for _ in range(4)]
        predictions = teacher.predict(batch, context, sigmas)
        losses = [
            ((p - c).square() * w).mean((1, 2, 3, 4)) / (s + 0.15) ** 0.7 * good
            for p, c, w, s, good in zip(predictions, batch.chunks, batch.weights, sigmas, batch.counts, strict=True)
        ]
        loss = torch.stack(losses).sum() / torch.stack(batch.counts).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        step += 1
        with torch.no_grad():
            for a, p in zip(averaged, both.parameters(), strict=True):
                a.lerp_(p, 1 - min(0.995, step / (step + 10)))
        spent += min((time.monotonic() - began) / 60, 0.25)  # a process that was stopped for a while has not trained
        if spent - said >= 1:
            said = spent
            print(f"base {spent:5.1f} min  step {step}  loss {loss.item():.4f}", flush=True)
        if spent - saved >= 5:
            saved = spent
            save(average[0], average[1], {"steps": step, "minutes": spent})
    save(average[0], average[1], {"steps": step, "minutes": minutes})
