"""Encode prompts by Wan's text encoder: UMT5, 512 tokens, zeros past the prompt's end, no attention mask downstream."""

from __future__ import annotations

import html
import re
from typing import Any

import ftfy
import torch
from torch import Tensor

TEXT_LENGTH = 512  # tokens; not diffusers' default of 226, Wan and its distillations were trained with 512


def cleaned(prompt: str) -> str:
    """Return a prompt with repaired encoding, HTML entities unescaped twice, and merged spaces, as in Wan."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()


class UMT5Text:
    """Encode prompts to embeddings [n, 512, text_dim]."""

    def __init__(self, encoder: Any, tokenizer: Any, length: int = TEXT_LENGTH) -> None:
        self._encoder, self._tokenizer, self._length = encoder.eval(), tokenizer, length

    @torch.no_grad()
    def __call__(self, prompts: list[str]) -> Tensor:
        tokens = self._tokenizer(
            [cleaned(p) for p in prompts],
            padding="max_length",
            max_length=self._length,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._encoder.device)
        embeddings: Tensor = self._encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return embeddings * tokens.attention_mask.unsqueeze(-1).to(embeddings.dtype)
