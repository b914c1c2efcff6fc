"""Go through a clip chunk by chunk, as inference does, with gradients; the avatar and own rollouts learn so."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.cache_protocol import Cache, KeysValues, Visible
from models.rope import Rotation, rotation
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer, TextState


class GrowingCache:
    """Keep keys and values of the clean chunks so far, by concatenation; gradients pass."""

    def __init__(self, layers: int) -> None:
        self.seen: list[list[KeysValues]] = [[] for _ in range(layers)]
        self.clean = False  # whether the pass under way leaves its keys and values

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        own = rotation(key), value
        keys, values = (torch.cat([*(c[i] for c in self.seen[layer]), own[i]], 1) for i in (0, 1))
        if self.clean:
            self.seen[layer].append(own)
        return Visible(keys, values)


class Teacher:
    """Run the transformer and its text encoder over chunks whose past is clean; gradients pass."""

    def __init__(self, transformer: CausalWanTransformer, text: WordText) -> None:
        self.transformer, self.text = transformer, text

    def prompts(self, prompts: list[str]) -> TextState:
        return self.transformer.embed_text(self.text(prompts))

    def rotation(self, first: int, latents: Tensor) -> Rotation:
        f, h, w = latents.shape[-3:]
        _, ph, pw = self.transformer.config.patch_size
        head_dim = self.transformer.config.attention_head_dim
        return rotation(range(first, first + f), h // ph, w // pw, head_dim, latents.device)

    def remember(self, cache: GrowingCache, first: int, clean: Tensor, text: TextState) -> None:
        """Run the clean pass over a chunk at coordinate `first`: its keys and values are seen from here on."""
        cache.clean = True
        time = torch.zeros(1, device=clean.device)
        self.transformer(clean, time, text, self.rotation(first, clean), cache, head=False)
        cache.clean = False

    def x0(self, cache: Cache, first: int, noisy: Tensor, sigma: Tensor, text: TextState) -> Tensor:
        """Return the clean latents that a chunk noised to sigma [B] is taken for."""
        prediction = self.transformer(noisy, 1000 * sigma, text, self.rotation(first, noisy), cache)
        assert prediction is not None
        return prediction


def noised(x: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Return x on the flow path, x_t = (1 - t)·x + t·noise, at t = sigma [B]."""
    s = sigma.view(-1, 1, 1, 1, 1)
    return (1 - s) * x + s * noise


def jittered(chunks: list[Tensor], draws: np.random.Generator) -> list[Tensor]:
    """Return clean chunks with a little noise, as what a model draws is never quite clean."""
    return [c + 0.1 * draws.random() * torch.randn_like(c) for c in chunks]


def sampled_sigmas(rng: np.random.Generator, rows: int, grid: tuple[float, ...]) -> Tensor:
    """Draw noise levels [rows]: 70 % from the grid, the rest from all levels, high ones more often."""
    u = rng.random(rows)
    spread = 3 * u / (1 + 2 * u)
    return torch.from_numpy(np.where(rng.random(rows) < 0.7, rng.choice(grid, rows), spread)).float()
