"""Encode prompts to the embeddings that the models were trained on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from transformers import UMT5Config, UMT5EncoderModel

from models.text.umt5 import UMT5Text, cleaned
from models.text.word_encoder import TEXT_LENGTH, WordText


class ByteTokens:
    """Tokenize each byte as one token, with an end mark and padding, like a tokenizer with a vocabulary file."""

    def __call__(self, prompts: list[str], *, max_length: int, **options: object) -> SimpleNamespace:
        assert options["padding"] == "max_length"
        rows = [[*[b % 90 + 2 for b in p.encode()][: max_length - 1], 1] for p in prompts]
        ids = torch.tensor([r + [0] * (max_length - len(r)) for r in rows])
        tokens = SimpleNamespace(input_ids=ids, attention_mask=(ids > 0).long())
        tokens.to = lambda device: tokens
        return tokens


@pytest.fixture(scope="module")
def umt5() -> UMT5Text:
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return UMT5Text(UMT5EncoderModel(config), ByteTokens())


def test_umt5_gives_512_positions_with_zeros_past_the_end(umt5: UMT5Text) -> None:
    out = umt5(["a cat"])
    assert out.shape == (1, 512, 16)
    assert (out[0, :6].abs().sum(-1) > 0).all()
    assert (out[0, 6:] == 0).all()


def test_umt5_does_not_let_padding_leak_into_the_prompt(umt5: UMT5Text) -> None:
    together = umt5(["a cat", "a much longer prompt about a dog"])
    torch.testing.assert_close(together[0, :6], umt5(["a cat"])[0, :6], atol=1e-5, rtol=0)
    assert not torch.equal(together[0, :6], together[1, :6])


@pytest.mark.parametrize("prompts", [["a cat"], [""], ["a cat", "a much longer prompt"], ["x" * 2000]])
def test_umt5_encodes_only_what_holds_tokens_and_finds_the_same(prompts: list[str]) -> None:
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    encoder, seen = UMT5EncoderModel(config).eval(), list[int]()
    tokens = ByteTokens()(prompts, max_length=512, padding="max_length")
    with torch.no_grad():
        whole = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
    encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    found = UMT5Text(encoder, ByteTokens())(prompts)
    torch.testing.assert_close(found, whole * tokens.attention_mask.unsqueeze(-1), atol=1e-5, rtol=1e-4)
    assert seen == [min(512, max(map(len, prompts)) + 1)]


def test_a_prompt_that_is_too_long_is_cut(umt5: UMT5Text) -> None:
    assert umt5(["x" * 2000]).abs().sum(-1).gt(0).all()


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a   cat\n\tsits ", "a cat sits"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("<b> salt &amp;amp; pepper", "<b> salt & pepper"),
        ("caf\u00c3\u00a9", "café"),
        ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
    ],
)
def test_text_is_cleaned_as_in_wan(raw: str, clean: str) -> None:
    assert cleaned(raw) == clean


def test_words_past_the_prompts_end_are_zero() -> None:
    out = WordText(("a", "red", "ball"), 8)(["a red ball", "a ball"])
    assert out.shape == (2, TEXT_LENGTH, 8)
    assert (out[0, 3:] == 0).all()
    assert (out[1, 2:] == 0).all()
    assert (out[0, :3].abs().sum(-1) > 0).all()


def test_a_long_prompt_of_pocket_is_cut_not_refused() -> None:
    assert WordText(("red",), 8)(["red " * 100]).abs().sum(-1).gt(0).all()
