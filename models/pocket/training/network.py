"""The transformer that pocket's training builds, and its captions as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.text.words import TEXT_LENGTH, WordText, words_of

# 64 tokens a latent of 32 x 16 x 16; 14.2 million parameters
CONFIG: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 5,
    "attention_head_dim": 64,
    "in_channels": 32,
    "out_channels": 32,
    "text_dim": 256,
    "freq_dim": 256,
    "ffn_dim": 1280,
    "num_layers": 8,
    "cross_attn_norm": True,
}
NOTHING = -1  # id of a position past a prompt's end


def token_ids(words: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """Ids of known words, [prompts, TEXT_LENGTH] int64, NOTHING past the end; unknown words are left out."""
    index = {w: i for i, w in enumerate(words)}
    ids = torch.full((len(prompts), TEXT_LENGTH), NOTHING)
    for row, prompt in enumerate(prompts):
        known = [index[w] for w in words_of(prompt) if w in index][:TEXT_LENGTH]
        ids[row, : len(known)] = torch.tensor(known, dtype=torch.int64)
    return ids


def embedded(text: WordText, ids: Tensor) -> Tensor:
    """Embeddings [prompts, TEXT_LENGTH, dim] of `token_ids`, as `text` makes them from the prompts themselves."""
    x = text.word(ids.clamp(min=0)) + text.position
    return (x + text.mix(x)) * (ids != NOTHING).unsqueeze(-1)
