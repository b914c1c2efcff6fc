"""Remember the prompts used last as a transformer's text keys and values, so that none of them is encoded twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from models.cue import LoraScale
from models.dataclass_tree import tensors_of
from models.lora import MergedLoras
from models.text.emphasis import read_emphasis
from models.text.prompt_reading import PromptError
from models.transformer import TextState, Transformer

REMEMBERED_PROMPTS = 80  # as many as may be planned in a session, and some
REMEMBERED_BYTES = 256_000_000  # of keys, values and embeddings; the prompt used last is remembered in any case

TextEncoder = Callable[[list[str]], Tensor]  # prompts → embeddings [n, L, text_dim], padding zero
EmphasisReader = Callable[[list[str]], Tensor | None]  # prompts → factors of text values [n, L]; None: all are 1


def no_emphasis(prompts: list[str]) -> None:
    """Read the emphases of a text encoder that knows none; raise PromptError if a prompt has any."""
    for prompt in prompts:
        if read_emphasis(prompt)[0].emphases:
            raise PromptError(f"this text encoder cannot emphasise a word as in {' '.join(prompt.split())[:60]!r}")


class PromptMemory:
    """Encode prompts for one transformer and remember those used last: REMEMBERED_PROMPTS, in REMEMBERED_BYTES."""

    def __init__(
        self,
        encode: TextEncoder,
        transformer: Transformer,
        emphasis: EmphasisReader = no_emphasis,
        loras: MergedLoras | None = None,
        negative: str | None = None,
    ) -> None:
        """Remember prompts for the weights of `transformer`, into which `loras` are merged.

        Where there is a `negative` prompt, a text has rows of it behind its own, as many.
        """
        self._negative = negative
        self.encode, self.emphasis, self._transformer, self._loras = encode, emphasis, transformer, loras
        self._known: dict[
            tuple[str | tuple[str, ...], tuple[LoraScale, ...]], TextState
        ] = {}  # the one used last is last

    @torch.inference_mode()
    def text(self, prompt: str | tuple[str, ...]) -> TextState:
        """Return a prompt, or a batch of prompts, encoded for the LoRAs that are merged now.

        A prompt that is remembered for others is not encoded again, only its keys and values are made anew.
        """
        weights = () if self._loras is None else self._loras.active
        known = self._known.pop((prompt, weights), None)
        known = self._encoded(prompt) if known is None else self.completed(known)
        self._known[prompt, weights] = known
        while len(self._known) > REMEMBERED_PROMPTS:
            del self._known[next(iter(self._known))]
        self._save_room()
        return known

    def _save_room(self) -> None:
        """Forget within REMEMBERED_BYTES, the oldest first: keys and values, which are soon made anew, then prompts."""
        older = list(self._known)[:-1]
        for prompt in older:
            if self.bytes() <= REMEMBERED_BYTES:
                return
            self._known[prompt] = replace(self._known[prompt], layers=())
        for prompt in older:
            if self.bytes() <= REMEMBERED_BYTES:
                return
            del self._known[prompt]

    def bytes(self) -> int:
        """Return the memory of the prompts that are remembered; embeddings that two of them share count once."""
        held = {id(t): t.nbytes for known in self._known.values() for t in tensors_of(known)}
        return sum(held.values())

    def _encoded(self, prompt: str | tuple[str, ...]) -> TextState:
        for (text, _), other in self._known.items():
            if text == prompt:
                return self.embedded(other.embeddings, other.emphasis)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        asked = [prompts] if self._negative is None else [prompts, [self._negative] * len(prompts)]
        embeddings = torch.cat([self.encode(texts) for texts in asked])
        factors = self.emphasis([text for texts in asked for text in texts])
        return self.embedded(embeddings.to(self._transformer.device, self._transformer.dtype), factors)

    def embedded(self, embeddings: Tensor, emphasis: Tensor | None = None) -> TextState:
        """Return keys and values for text embeddings [n, L, text_dim], which are not remembered.

        The values are multiplied by `emphasis` [n, L], where there is one.
        """
        text = self._transformer.embed_text(embeddings)
        if emphasis is None:
            return text
        factors = emphasis.to(embeddings.device, torch.float32)
        of_keys = factors[:, : text.layers[0][0].shape[1], None, None]  # behind them is padding, whose factor is 1
        layers = tuple((keys, (values * of_keys).to(values.dtype)) for keys, values in text.layers)
        return replace(text, layers=layers, emphasis=factors)

    def completed(self, text: TextState) -> TextState:
        """Return a prompt with its keys and values, which are computed if a snapshot left them out."""
        return text if text.layers else self.embedded(text.embeddings, text.emphasis)
