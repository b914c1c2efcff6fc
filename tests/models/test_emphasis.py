"""Emphasise words of prompts by factors on their text values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, tiny_text
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Prompt, typed_prompt
from models.generator import Generator
from models.pocket.world.scene import vocabulary
from models.prompt_memory import PromptMemory
from models.text.emphasis import Emphasis, EmphasisedText, parse_emphasis
from models.text.prompt_reading import PARENTHESES, PromptError, any_prompt, read_prompt
from models.text.umt5 import UMT5Text
from models.text.word_encoder import TEXT_LENGTH, WordText
from streaming.take.take_file import TakeError, parse

KNOWN = vocabulary()


@pytest.mark.parametrize(
    ("prompt", "text", "emphases"),
    [
        ("a (red:1.5) ball", "a red ball", [(2, 5, 1.5)]),
        ("(a: b : .5)c (d:0) (e:2.)", "a: bc d e", [(0, 4, 0.5), (6, 7, 0.0), (8, 9, 2.0)]),
        (r"a \(red\) ball \ (x\):1)", "a (red) ball \\ x)", [(15, 17, 1.0)]),
        ("（红色：１.5）的球", "红色的球", [(0, 2, 1.5)]),
    ],
)
def test_a_phrase_in_parentheses_with_a_number_is_emphasised(
    prompt: str, text: str, emphases: list[tuple[int, int, float]]
) -> None:
    assert parse_emphasis(prompt) == EmphasisedText(text, tuple(Emphasis(*e) for e in emphases))


WRONG = [
    ("a (red) ball", r"\(red\) at character 3 of the prompt is no emphasis"),
    ("a (red:1.5 ball", "'\\(' at character 3 of the prompt is never closed"),
    ("a red:1.5) ball", "'\\)' at character 10 of the prompt closes nothing"),
    ("a ((red:1.5):1) ball", "character 4 of the prompt stands within another"),
    ("a (red:2.1) ball", "needs a factor from 0 to 2, such as 1.5, not 2.1"),
    ("a (red:-1) ball", "not -1"),
    ("a (red:1,5) ball", "not 1,5"),
    ("a (red:nan) ball", "not nan"),
    ("a (red:) ball", "not nothing"),
    ("a ( :1.5) ball", "is no emphasis"),
    ("a （red） ball", "is no emphasis"),
    ("the clock (at 10:30)", "not 30"),
]


@pytest.mark.parametrize(("prompt", "says"), WRONG)
def test_parentheses_that_are_no_emphasis_are_refused_in_one_line(prompt: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"{says}.*write .word:1.5. to emphasise") as refused:
        typed_prompt(prompt)
    assert "\n" not in str(refused.value)
    with pytest.raises(TakeError, match=f"t.yaml:2: cues.0.prompt: .*{says}"):
        parse(f"cues:\n- prompt: '{prompt}'", "t.yaml")


def test_an_older_take_with_any_parentheses_is_read_and_told_of() -> None:
    assert parse("cues:\n- {prompt: a (red) ball, landed: 0}", "t.yaml").cues[0].prompt == "a (red) ball"
    assert PARENTHESES in read_prompt("a (red) ball", KNOWN).notes
    assert any_prompt("a (red) ball").notes == (PARENTHESES,)


@given(st.text(st.characters() | st.sampled_from("()\\:1. （"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_said_with_escaped_parentheses(text: str) -> None:
    escaped = "".join(f"\\{c}" if c in "()（）" else c for c in text)
    assert parse_emphasis(escaped) == EmphasisedText(text)
    try:
        assert all(0 <= e.factor <= 2 and e.begin < e.end for e in parse_emphasis(text).emphases)
    except ValueError as e:
        assert len(str(e).splitlines()) == 1  # noqa: PT017


# -- which words count --------------------------------------------------------------------------------------------


def factors(prompt: str) -> dict[str, float]:
    """Return the factors other than 1 of the words that pocket's encoder gets."""
    read = read_prompt(prompt, KNOWN)
    return {w: f for w, f in zip(read.words, read.factors, strict=False) if f != 1}


@pytest.mark.parametrize(
    ("prompt", "emphasised"),
    [
        ("a (red:1.5) ball (drifts left:0) over the sea", {"red": 1.5, "drifts": 0, "left": 0}),
        ("a red ball drifts (left:0.5)", {"left": 0.5}),
        ("a (crimson:1.5) orb", {"red": 1.5}),
        ("ein (roter:1.5) Ball (in der Nacht:0)", {"red": 1.5, "at": 0, "night": 0}),
        ("（红色：1.5）的球", {"red": 1.5}),
        ("a (red ball:1) over the sea", {}),
        ("a (r:1.5)ed ball", {"red": 1.5}),
    ],
)
def test_pocket_emphasises_the_words_that_it_reads(prompt: str, emphasised: dict[str, float]) -> None:
    plain = parse_emphasis(prompt).text
    assert read_prompt(prompt, KNOWN).words == read_prompt(plain, KNOWN).words
    assert factors(prompt) == emphasised
    assert not any("emphasis" in note or "effect" in note for note in read_prompt(prompt, KNOWN).notes)


@pytest.mark.parametrize("prompt", ["a red ball (yonder:1.5)", "a ball, no (red:1.5)", f"{'red ' * 20} (ball:0)"])
def test_an_emphasis_without_effect_is_told(prompt: str) -> None:
    assert any("has no effect, because pocket reads no word of it" in note for note in read_prompt(prompt, KNOWN).notes)
    assert factors(prompt) == {} or "ball" in factors(prompt)


def test_an_unknown_word_is_told_without_its_emphasis() -> None:
    assert read_prompt("a red ball on a (spoon:1.5)", KNOWN).unknown.keys() == {"spoon"}


@pytest.fixture(scope="module")
def umt5() -> UMT5Text:
    torch.manual_seed(0)
    pieces = ["▁", "▁a", "▁re", "d", "▁ball", "▁&", "▁red", "▁caf", "é", *"abcdefghijklmnopqrstuvwxyz&;#()"]
    unigram = Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p, -len(p) / 9) for p in pieces)], 2)
    tokenizer = Tokenizer(unigram)
    tokenizer.pre_tokenizer = Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    config = UMT5Config(vocab_size=100, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    return UMT5Text(UMT5EncoderModel(config), fast, 24)


@pytest.mark.parametrize(
    ("prompt", "phrase"),
    [
        ("a (red:1.5) ball", "red"),
        ("  a   ( red  ball :1.5)", "red ball"),
        ("salt &amp;amp; (café:1.5) ball", "café"),
        ("caf\u00c3\u00a9 (red:1.5)", "red"),
        (r"a \(ball\) (red:1.5)", "red"),
    ],
)
def test_umt5_emphasises_all_tokens_of_a_phrase(umt5: UMT5Text, prompt: str, phrase: str) -> None:
    plain = parse_emphasis(prompt).text
    torch.testing.assert_close(umt5([prompt]), umt5([plain]), rtol=0, atol=0)
    found = umt5.emphasis([plain.replace("(", r"\(").replace(")", r"\)"), prompt])
    assert found is not None
    assert (found[0] == 1).all()
    assert found[1].unique().tolist() == [1.0, 1.5]
    only = umt5.emphasis([f"({phrase}:1.5)"])  # the phrase alone is as many tokens
    assert only is not None
    assert (found[1] == 1.5).sum() == (only == 1.5).sum()
    assert umt5.read(prompt).notes == ()


def test_umt5_tells_what_it_cannot_emphasise(umt5: UMT5Text, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "behind the 24 tokens" in umt5.read(f"{'a ' * 30} (red:1.5)").notes[0]
    assert umt5.read("a (red ball").notes == (PARENTHESES,)
    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(PromptError, match=r"tokenizer\.json"):
        umt5.read("a (red:1.5) ball")
    assert umt5.emphasis(["a red ball"]) is None


# -- what it does -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    model = tiny_model()
    torch.manual_seed(0)
    words = WordText(KNOWN, 16).eval().requires_grad_(requires_grad=False)
    g = model.generator
    return Generator(g.config, g.transformer, words, g.codec, emphasis=words.emphasis)


def test_text_values_are_multiplied_and_nothing_else(generator: Generator) -> None:
    plain, loud = generator.text("a red ball"), generator.text("a (red:1.5) ball")
    assert torch.equal(plain.embeddings, loud.embeddings)
    for (keys, values), (same, more) in zip(plain.layers, loud.layers, strict=True):
        assert torch.equal(keys, same)
        assert torch.equal(values[:, 1] * 1.5, more[:, 1])
        assert torch.equal(values[:, 2:], more[:, 2:])
    assert (generator.text("a (red:0) ball").layers[0][1][:, 1] == 0).all()


def latents(generator: Generator, *prompts: str | Prompt) -> list[Tensor]:
    """Draw a chunk under each prompt and one more."""
    state = generator.new_take(7, 32, 32)
    drawn = [generator.draw(state, [p if isinstance(p, Prompt) else Prompt(p)]) for p in prompts]
    return [*drawn, generator.draw(state)]


def test_a_factor_of_1_draws_the_same_to_the_bit_and_others_do_not(generator: Generator) -> None:
    plain = latents(generator, "a red ball by day", "a blue ball by day")
    same = latents(generator, "a (red ball:1) by day", "a (blue:1.0) ball by day")
    assert all(torch.equal(x, y) for x, y in zip(plain, same, strict=True))
    for factor in (0, 0.5, 1.5):
        other = latents(generator, "a red ball by day", f"a (blue:{factor}) ball by day")
        assert torch.equal(plain[0], other[0])
        assert not torch.equal(plain[1], other[1])


def test_a_blend_moves_the_factors_with_the_embeddings(generator: Generator, tmp_path: Path) -> None:
    state = generator.new_take(7, 32, 32)
    generator.draw(state, [Prompt("a (red:2) ball")])
    generator.draw(state, [Prompt("a red (ball:0)", blend=2)])
    assert state.text is not None
    assert state.text.emphasis is not None
    assert state.text.emphasis[0, :4].tolist() == [1, 1.5, 0.5, 1]
    save_snapshot(generator.snapshot(state), tmp_path / "half")
    halfway = generator.restore(load_snapshot(tmp_path / "half", generator.device, generator.dtype))
    without_keys = generator.restore(generator.snapshot(state, keys=False))
    assert without_keys.text is not None
    assert torch.equal(without_keys.text.layers[0][1], state.text.layers[0][1])
    generator.draw(state)
    generator.draw(halfway)
    for text in (state.text, halfway.text):
        assert text is not None
        assert text.emphasis is not None
        assert text.emphasis[0, :4].tolist() == [1, 1, 0, 1]
        torch.testing.assert_close(text.layers[0][1], generator.text("a red (ball:0)").layers[0][1])


def test_takes_in_step_have_emphases_of_their_own(generator: Generator) -> None:
    both = generator.text(("a red ball", "a (red:0) ball"))
    assert both.emphasis is not None
    assert both.emphasis.shape == (2, TEXT_LENGTH)
    torch.testing.assert_close(both.layers[0][1][:1], generator.text("a red ball").layers[0][1])
    torch.testing.assert_close(both.layers[0][1][1:], generator.text("a (red:0) ball").layers[0][1])


def test_an_encoder_without_emphasis_refuses_it() -> None:
    memory = PromptMemory(tiny_text, tiny_model().generator.transformer)
    memory.text(r"a \(red\) ball")
    with pytest.raises(PromptError, match="cannot emphasise"):
        memory.text("a (red:1.5) ball")


def test_an_engine_in_place_of_torch_keeps_the_emphasis(generator: Generator) -> None:
    other = generator.run_by(generator.transformer).with_config(replace(generator.config, sink=0))
    assert other.text("a (red:0) ball").emphasis is not None
