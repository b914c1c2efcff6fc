"""The prompts used last are encoded once."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model, tiny_text

from models import prompt_memory
from models.dataclass_tree import tensors_of
from models.prompt_memory import REMEMBERED_PROMPTS, PromptMemory


def test_the_prompt_used_longest_ago_is_encoded_again_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, encoded = tiny_model().generator, list[str]()
    real = generator.transformer.embed_text
    monkeypatch.setattr(generator.transformer, "embed_text", lambda e: encoded.append("") or real(e))
    for i in range(REMEMBERED_PROMPTS):
        generator.text(f"prompt {i}")
    generator.text("prompt 0")  # used again: now prompt 1 is the oldest
    generator.text("one more")
    before = len(encoded)
    generator.text("prompt 0")
    assert len(encoded) == before
    generator.text("prompt 1")
    assert len(encoded) == before + 1


def test_what_has_no_room_loses_its_keys_first_and_is_encoded_again_only_where_it_has_no_room_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[str] = []
    memory = PromptMemory(lambda p: encoded.extend(p) or tiny_text(p), tiny_model().generator.transformer)  # type: ignore[func-returns-value]
    whole = memory.text("prompt 0")
    one, embeddings = sum(t.nbytes for t in tensors_of(whole)), whole.embeddings.nbytes
    monkeypatch.setattr(prompt_memory, "REMEMBERED_BYTES", one + 3 * embeddings)
    for i in (1, 2, 3):
        memory.text(f"prompt {i}")
        assert memory.bytes() <= one + 3 * embeddings
    for i in range(4):
        again = memory.text(f"prompt {i}")
    assert len(encoded) == 4, "four prompts have no room with their keys, but as embeddings"
    torch.testing.assert_close(again.layers, memory.embedded(again.embeddings).layers)
    monkeypatch.setattr(prompt_memory, "REMEMBERED_BYTES", one // 2)
    for _ in range(2):
        memory.text("prompt 5")
    assert len(encoded) == 5, "a prompt in use is not encoded at every chunk"
    memory.text("prompt 0")
    assert len(encoded) == 6
