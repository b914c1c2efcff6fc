"""Build the transformer of pocket's training, and turn captions into token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models import catalog
from models.text.word_encoder import TEXT_LENGTH, WordText, words_of

CONFIG: dict[str, Any] = catalog.POCKET.transformer
NOTHING = -1  # id of a position past a prompt's end


def token_ids(words: Sequence[str], prompts: Sequence[str]) -> Tensor:
    """Return ids of known words, [prompts, TEXT_LENGTH] int64, NOTHING past the end; unknown words are left out."""
    index = {w: i for i, w in enumerate(words)}
    ids = torch.full((len(prompts), TEXT_LENGTH), NOTHING)
    for row, prompt in enumerate(prompts):
        known = [index[w] for w in words_of(prompt) if w in index][:TEXT_LENGTH]
        ids[row, : len(known)] = torch.tensor(known, dtype=torch.int64)
    return ids


def embedded(text: WordText, ids: Tensor) -> Tensor:
    """Return embeddings [prompts, TEXT_LENGTH, dim] of `token_ids`, as `text` makes them from prompts."""
    x = text.word(ids.clamp(min=0)) + text.position
    return (x + text.mix(x)) * (ids != NOTHING).unsqueeze(-1)
