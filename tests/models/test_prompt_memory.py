"""The prompts used last are encoded once."""

from __future__ import annotations

import pytest
from conftest import tiny_model

from models import prompt_memory
from models.dataclass_tree import tensors_of
from models.prompt_memory import REMEMBERED_PROMPTS


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


def test_prompts_are_remembered_within_so_many_bytes_and_the_newest_in_any_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator, encoded = tiny_model().generator, list[int]()
    real = generator.transformer.embed_text
    monkeypatch.setattr(generator.transformer, "embed_text", lambda e: encoded.append(0) or real(e))
    one = sum(t.nbytes for t in tensors_of(generator.text("prompt 0")))
    monkeypatch.setattr(prompt_memory, "REMEMBERED_BYTES", 2 * one)
    for i in (1, 2, 1):
        generator.text(f"prompt {i}")
    assert len(encoded) == 3
    generator.text("prompt 0")
    assert len(encoded) == 4, "three prompts have no room"
    monkeypatch.setattr(prompt_memory, "REMEMBERED_BYTES", one // 2)
    for _ in range(2):
        generator.text("prompt 3")
    assert len(encoded) == 5, "a prompt in use is not encoded at every chunk"
