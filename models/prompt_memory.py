"""Remember the prompts used last as a transformer's text keys and values, so that none of them is encoded twice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.transformer import TextState, Transformer

REMEMBERED_PROMPTS = 16

TextEncoder = Callable[[list[str]], Tensor]  # prompts → embeddings [n, L, text_dim], padding zero


class PromptMemory:
    """Encode prompts for one transformer and remember the REMEMBERED_PROMPTS used last."""

    def __init__(self, encode: TextEncoder, transformer: Transformer) -> None:
        self.encode, self._transformer = encode, transformer
        self._known: dict[str | tuple[str, ...], TextState] = {}  # the one used last is last

    @torch.inference_mode()
    def text(self, prompt: str | tuple[str, ...]) -> TextState:
        """Return a prompt, or a batch of prompts, encoded."""
        known = self._known.pop(prompt, None)
        if known is None:
            embeddings = self.encode([prompt] if isinstance(prompt, str) else list(prompt))
            known = self.embedded(embeddings.to(self._transformer.device, self._transformer.dtype))
        self._known[prompt] = known
        if len(self._known) > REMEMBERED_PROMPTS:
            del self._known[next(iter(self._known))]
        return known

    def embedded(self, embeddings: Tensor) -> TextState:
        """Return keys and values for text embeddings [n, L, text_dim], which are not remembered."""
        return self._transformer.embed_text(embeddings)

    def forget(self) -> None:
        """Forget all prompts, as keys and values of other weights."""
        self._known.clear()
