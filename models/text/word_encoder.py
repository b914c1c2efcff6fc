"""Encode pocket's prompts by a small trained text encoder: a word list, an embedding and a two-layer network."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from models.text.prompt_reading import PromptError, PromptReading, read_prompt

TEXT_LENGTH = 20  # tokens


def words_of(prompt: str) -> list[str]:
    """Return the words of a training caption, which is English."""
    return re.findall(r"[a-z]+", prompt.lower())


class WordText(nn.Module):
    """Encode prompts to embeddings [n, TEXT_LENGTH, dim]; positions past the prompt's end are zero, as in Wan."""

    def __init__(self, words: tuple[str, ...], dim: int, model: str = "pocket") -> None:
        """Create an encoder of these words; messages about prompts call the model `model`."""
        super().__init__()
        self._model = model
        self.words = words
        self._index = {w: i for i, w in enumerate(words)}
        self.word = nn.Embedding(len(words), dim)
        self.position = nn.Parameter(torch.randn(TEXT_LENGTH, dim) * 0.1)
        self.mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, prompts: list[str]) -> Tensor:
        ids = torch.zeros(len(prompts), TEXT_LENGTH, dtype=torch.long)
        present = torch.zeros(len(prompts), TEXT_LENGTH, 1)
        for row, prompt in enumerate(prompts):
            known = [self._index[w] for w in self._reading(prompt).words][:TEXT_LENGTH]
            ids[row, : len(known)] = torch.tensor(known, dtype=torch.long)
            present[row, : len(known)] = 1
        device = self.position.device
        x = self.word(ids.to(device)) + self.position
        return (x + self.mix(x)) * present.to(device)

    def emphasis(self, prompts: list[str]) -> Tensor | None:
        """Return the factors of the text values of prompts, [n, TEXT_LENGTH] float32; None if all are 1."""
        factors = torch.ones(len(prompts), TEXT_LENGTH)
        for row, prompt in enumerate(prompts):
            given = self._reading(prompt).factors[:TEXT_LENGTH]
            factors[row, : len(given)] = torch.tensor(given)
        return None if bool((factors == 1).all()) else factors

    def read(self, prompt: str) -> PromptReading:
        """Return the encoder's words of a prompt, and unknown words; raise PromptError if none is understood."""
        return read_prompt(prompt, self._index, self._model, TEXT_LENGTH)

    def _reading(self, prompt: str) -> PromptReading:
        try:
            return self.read(prompt)
        except PromptError:  # takes of earlier releases may hold such a prompt, which was drawn without any word
            return PromptReading()
