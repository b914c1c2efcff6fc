"""The prompts used last are encoded once."""

from __future__ import annotations

import pytest
from conftest import tiny_model

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
