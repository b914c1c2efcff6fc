"""Padding of a prompt is read as a few keys that count often, and nothing that is drawn changes by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import tiny_model
from torch import Tensor

from models import transformer as transformer_module
from models.attention import attend
from models.cue import Cue, Prompt
from models.generator import Generator
from models.text.padding import CARRIERS, STEP, kept_positions, padding_bias

LENGTH, DIM = 512, 16
CPU = torch.device("cpu")


def embedded(prompts: list[str]) -> Tensor:
    """Return embeddings [n, 512, 16] with as many words as a prompt has letters, and zeros behind them."""
    rows = torch.zeros(len(prompts), LENGTH, DIM)
    for row, prompt in zip(rows, prompts, strict=True):
        row[: len(prompt)] = torch.randn(len(prompt), DIM, generator=torch.Generator().manual_seed(len(prompt)))
    return rows


def stressed(prompts: list[str]) -> Tensor:
    """Return factors [n, 512]: the second word of every prompt counts double."""
    factors = torch.ones(len(prompts), LENGTH)
    factors[:, 1] = 2
    return factors


def generator(dtype: torch.dtype = torch.float32) -> Generator:
    made = tiny_model().generator
    network = made.transformer
    assert isinstance(network, transformer_module.CausalWanTransformer)
    return Generator(made.config, network.to(dtype), embedded, made.codec, emphasis=stressed)


def drawn(model: Generator, cues: dict[int, list[Cue]], seeds: tuple[int, ...] = (3,)) -> Tensor:
    state, chunks = model.new_take(seeds, 32, 32), []
    for number in range(5):
        chunks.append(model.draw(state, cues.get(number, [])))
        model.commit(state)
    return torch.cat(chunks, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("length", "kept"), [(512, 64), (512, 128), (512, 448), (226, 64), (65, 64), (4096, 64)])
def test_the_last_keys_count_for_all_that_are_left_out_in_every_type(
    length: int, kept: int, dtype: torch.dtype
) -> None:
    bias = padding_bias(length, kept, dtype, CPU)
    assert bias.dtype == dtype
    assert bias[: kept - CARRIERS].eq(0).all()
    assert float(bias.double().exp().sum()) == pytest.approx(length, rel=1e-7)


@pytest.mark.parametrize("words", [0, 1, 56, 57, 120, 440, 441, 504, 505, 512])
def test_every_word_keeps_a_key_of_its_own_and_padding_has_its_carriers(words: int) -> None:
    kept = kept_positions(embedded(["w" * words]))
    assert kept == LENGTH or (kept % STEP == 0 and kept >= words + CARRIERS)
    assert kept < words + CARRIERS + STEP or kept == LENGTH
    assert kept_positions(embedded(["w" * words, "w" * 300])) == max(kept, 320)


def test_a_short_text_and_one_without_padding_keep_all_their_keys() -> None:
    assert kept_positions(torch.zeros(1, 20, DIM)) == 20
    assert kept_positions(torch.ones(2, LENGTH, DIM)) == LENGTH


@pytest.mark.parametrize("words", [5, 100])
def test_attention_reads_the_same_as_from_every_position(words: int) -> None:
    make = torch.Generator().manual_seed(words)
    q = torch.randn(2, 30, 3, 16, generator=make)
    keys, values = torch.randn(2, 2, LENGTH, 3, 16, generator=make).unbind(0)
    keys[:, words:], values[:, words:] = keys[:, words : words + 1], values[:, words : words + 1]
    kept = kept_positions(embedded(["w" * words]))
    found = attend(q, keys[:, :kept], values[:, :kept], bias=padding_bias(LENGTH, kept, q.dtype, CPU))
    assert torch.allclose(found, attend(q, keys, values), atol=1e-6)


def test_a_bias_holds_for_rows_of_different_lengths_too() -> None:
    q, keys, values, bias = torch.randn(2, 3, 2, 8), torch.randn(2, 6, 2, 8), torch.randn(2, 6, 2, 8), torch.randn(6)
    rows = attend(q, keys, values, lengths=(4, 6), bias=bias)
    assert torch.equal(rows[:1], attend(q[:1], keys[:1, :4], values[:1, :4], bias=bias[:4]))
    assert torch.equal(rows[1:], attend(q[1:], keys[1:], values[1:], bias=bias))


TAKES: dict[str, Callable[[], dict[int, list[Cue]]]] = {
    "a switch to a longer prompt": lambda: {0: [Prompt("aaaa")], 2: [Prompt("a" * 90)]},
    "a blend over chunks": lambda: {0: [Prompt("a" * 70)], 1: [Prompt("bb", 3)]},
}


@pytest.mark.parametrize("seeds", [(3,), (3, 4)])
@pytest.mark.parametrize("name", TAKES)
def test_a_take_with_emphasis_is_drawn_as_with_a_key_for_every_position(
    name: str, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = drawn(generator(), TAKES[name](), seeds)
    monkeypatch.setattr(transformer_module, "kept_positions", lambda embeddings: LENGTH)
    assert torch.allclose(few, drawn(generator(), TAKES[name](), seeds), atol=2e-5)


def test_bfloat16_strays_no_further_from_float32_than_with_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = ["a prompt of some words"]

    def read(dtype: torch.dtype) -> Tensor:
        model = generator(dtype)
        text = model.text(prompt[0])
        q = torch.randn(1, 200, *text.layers[0][0].shape[2:], generator=torch.Generator().manual_seed(1))
        return attend(q.to(dtype), *text.layers[0], bias=text.bias).float()

    few = read(torch.bfloat16)
    monkeypatch.setattr(transformer_module, "kept_positions", lambda embeddings: LENGTH)
    exact, all_keys = read(torch.float32), read(torch.bfloat16)
    assert (few - exact).square().mean() < 1.5 * (all_keys - exact).square().mean()


def test_a_prompt_is_remembered_in_a_sixteenth_of_the_memory_and_can_be_had_in_full() -> None:
    text = generator().text("a short one")
    in_full = text.in_full()
    assert [k.shape[1] for k, _ in text.layers] == [32] * len(text.layers)
    assert [k.shape[1] for k, _ in in_full.layers] == [LENGTH] * len(text.layers)
    assert text.bias is not None
    assert in_full.bias is None
    q = torch.randn(1, 7, *text.layers[0][0].shape[2:])
    read, of_all = attend(q, *text.layers[0], bias=text.bias), attend(q, *in_full.layers[0], bias=in_full.bias)
    assert torch.allclose(read, of_all, atol=1e-6)
