"""Encode prompts by Wan's text encoder: UMT5, 512 tokens, zeros past the prompt's end, no attention mask downstream."""

from __future__ import annotations

import html
import re
from typing import Any

import ftfy
import torch
from torch import Tensor
from torch.nn import functional as F

from models.text.emphasis import read_emphasis
from models.text.prompt_reading import PARENTHESES, PromptError, PromptReading

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
        """Return the embeddings of prompts, with zeros past the end of each.

        Positions that hold no token of any prompt are left out of the encoder: its attention masks them, so that they
        change nothing. With them a prompt of 40 tokens took seven times as long on a CPU.
        """
        texts = [cleaned(read_emphasis(p)[0].text) for p in prompts]
        tokens = self._tokens(texts).to(self._encoder.device)
        held = int(tokens.attention_mask.sum(1).max())
        ids, mask = tokens.input_ids[:, :held], tokens.attention_mask[:, :held]
        embeddings: Tensor = self._encoder(ids, mask).last_hidden_state
        return F.pad(embeddings * mask.unsqueeze(-1).to(embeddings.dtype), (0, 0, 0, self._length - held))

    def emphasis(self, prompts: list[str]) -> Tensor | None:
        """Return the factors of the text values of prompts, [n, 512] float32; None if all are 1.

        A phrase counts with all of its tokens. UMT5 mixes the words of a prompt, so that the tokens beside it still
        tell a part of a word that is taken out. PromptError if the tokenizer does not tell where its tokens stand.
        """
        factors = torch.ones(len(prompts), self._length)
        for row, prompt in enumerate(prompts):
            given = read_emphasis(prompt)[0]
            if all(e.factor == 1 for e in given.emphases):
                continue
            emphasised = given.mapped(cleaned)
            for place, begin, end in self._places(emphasised.text):
                if (emphasis := emphasised.at(begin, end)) is not None:
                    factors[row, place] = emphasis.factor
        return None if bool((factors == 1).all()) else factors

    def read(self, prompt: str) -> PromptReading:
        """Return the reading of a prompt, which is taken as it is; PromptError if it cannot be emphasised."""
        given, readable = read_emphasis(prompt)
        notes = [] if readable else [PARENTHESES]
        if given.emphases:
            emphasised = given.mapped(cleaned)
            read = max((end for _, _, end in self._places(emphasised.text)), default=0)
            for emphasis in emphasised.emphases:
                if emphasis.end > read:
                    phrase = f"({emphasised.text[emphasis.begin : emphasis.end][:40]}:{emphasis.factor:g})"
                    notes.append(f"{phrase} stands behind the {self._length} tokens that are read")
        return PromptReading((prompt,), notes=tuple(notes))

    def _places(self, text: str) -> list[tuple[int, int, int]]:
        """Return the tokens of a text, each with the first character and the end of what it covers, without spaces."""
        if not self._tokenizer.is_fast:
            raise PromptError("this tokenizer does not tell which tokens a word has; put tokenizer.json beside it")
        offsets = self._tokens([text], return_offsets_mapping=True).offset_mapping[0].tolist()
        covered = [
            (place, begin + len(text[begin:end]) - len(text[begin:end].lstrip()), end)
            for place, (begin, end) in enumerate(offsets)
        ]
        return [(place, begin, end) for place, begin, end in covered if begin < end]

    def _tokens(self, texts: list[str], **more: bool) -> Any:
        return self._tokenizer(
            texts,
            padding="max_length",
            max_length=self._length,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
            **more,
        )
