"""Encode prompts by a small trained text encoder: a word list, an embedding and a two-layer network (pocket's)."""

from __future__ import annotations

import difflib
import re

import torch
from torch import Tensor, nn

TEXT_LENGTH = 20  # tokens

_UNSAID = {"an", "the", "is", "it", "and", "then", "now", "with", "while", "of", "to", "please"}


def words_of(prompt: str) -> list[str]:
    return re.findall(r"[a-z]+", prompt.lower())


class WordText(nn.Module):
    """Encode prompts to embeddings [n, TEXT_LENGTH, dim]; positions past the prompt's end are zero, as in Wan."""

    def __init__(self, words: tuple[str, ...], dim: int) -> None:
        super().__init__()
        self.words = words
        self._index = {w: i for i, w in enumerate(words)}
        self.word = nn.Embedding(len(words), dim)
        self.position = nn.Parameter(torch.randn(TEXT_LENGTH, dim) * 0.1)
        self.mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, prompts: list[str]) -> Tensor:
        ids = torch.zeros(len(prompts), TEXT_LENGTH, dtype=torch.long)
        present = torch.zeros(len(prompts), TEXT_LENGTH, 1)
        for row, prompt in enumerate(prompts):
            known = [self._index[w] for w in words_of(prompt) if w in self._index][:TEXT_LENGTH]
            ids[row, : len(known)] = torch.tensor(known, dtype=torch.long)
            present[row, : len(known)] = 1
        device = self.position.device
        x = self.word(ids.to(device)) + self.position
        return (x + self.mix(x)) * present.to(device)

    def not_understood(self, prompt: str) -> dict[str, list[str]]:
        """Return words that it was never trained on (filler apart), each with the nearest known ones in spelling."""
        return {
            w: difflib.get_close_matches(w, self.words, n=2, cutoff=0.6)
            for w in dict.fromkeys(words_of(prompt))
            if w not in self._index and w not in _UNSAID
        }
