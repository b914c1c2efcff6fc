"""Merge LoRAs into the weights of a running model, and keep takes with different LoRAs apart."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from conftest import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from loras import lora_file, lora_tensors
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoints.lora import fitted, merged
from models.checkpoints.lora_file import lora_for
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Cue, CueError, Cut, LoraScale, Parameter, Prompt
from models.generator import Generator
from models.lora import Difference, LoraError, LowRank, MergedLoras
from models.recache import replaces_commit
from models.transformer import CausalWanTransformer, TextState


def weights_of(transformer: nn.Module) -> dict[str, Tensor]:
    return {name: p.clone() for name, p in transformer.named_parameters()}


def with_two(dtype: torch.dtype = torch.float32) -> tuple[CausalWanTransformer, MergedLoras]:
    """Return a transformer with the LoRAs `a` and `b`, which change the same modules."""
    transformer = tiny_model().generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    loras = MergedLoras(transformer.to(dtype))
    for seed, name in enumerate("ab"):
        changes = fitted(lora_tensors(transformer, seed), transformer.state_dict(), Path(name)).changes
        loras.add(name, name, changes)
    return transformer, loras


def test_loras_arrive_while_others_are_forgotten() -> None:
    network = nn.Sequential(*[nn.Linear(2, 2) for _ in range(150)])
    loras = MergedLoras(network)
    changes = [Difference(name, torch.zeros_like(p)) for name, p in network.named_parameters()]
    for number in range(6):
        loras.add(f"kept {number}", "digest", changes)
    over, arrived, interval = Event(), list[str](), sys.getswitchinterval()

    def arrive() -> None:  # an upload is added in a thread of its own, and the device's forgets
        while not over.is_set() and len(arrived) < 20_000:
            loras.add(f"arrived {len(arrived)}", "digest", changes[:1])
            arrived.append(f"arrived {len(arrived)}")

    thread = Thread(target=arrive)
    sys.setswitchinterval(1e-6)
    try:
        thread.start()
        for number in range(300):
            loras.add(f"gone {number}", "digest", changes[:1])
            loras.drop(f"gone {number}")
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert arrived
    assert set(loras.names) == {*(f"kept {number}" for number in range(6)), *arrived}


scales = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=20, max_size=20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(scales)
@settings(max_examples=5, deadline=None)
def test_twenty_changes_in_a_row_leave_the_weights_of_a_fresh_merge(
    dtype: torch.dtype, changes: list[tuple[float, float]]
) -> None:
    (transformer, loras), (fresh, others) = with_two(dtype), with_two(dtype)
    pristine = weights_of(transformer)
    storage = [p.data_ptr() for p in transformer.parameters()]
    asked: tuple[LoraScale, ...] = ()
    for a, b in changes:
        asked = tuple(LoraScale(n, s) for n, s in (("a", a), ("b", b)) if s)
        loras.merge(asked)
    others.merge(asked)
    for name, weight in fresh.named_parameters():
        assert torch.equal(weight, transformer.get_parameter(name))
    loras.merge(())
    assert all(torch.equal(p, pristine[name]) for name, p in transformer.named_parameters())
    assert [p.data_ptr() for p in transformer.parameters()] == storage


def test_a_lora_is_forgotten_once_it_was_dropped_as_often_as_added_and_the_others_stay() -> None:
    transformer, loras = with_two()
    pristine = weights_of(transformer)
    loras.add("a", "a", fitted(lora_tensors(transformer, 0), transformer.state_dict(), Path("a")).changes)
    both = (LoraScale("a", 1.0), LoraScale("b", 0.5))
    loras.merge(both)
    held = weights_of(transformer)
    loras.drop("a")
    assert loras.names == ("a", "b")
    assert all(torch.equal(p, held[name]) for name, p in transformer.named_parameters())
    loras.drop("a")
    assert loras.names == ("b",)
    with pytest.raises(CueError, match="no LoRA is called 'a'; there are b"):
        loras.merge(both)
    fresh, others = with_two()
    for merging in (loras, others):
        merging.merge(both[1:])
    assert all(torch.equal(p, fresh.get_parameter(name)) for name, p in transformer.named_parameters())
    loras.drop("b")
    assert all(torch.equal(p, pristine[name]) for name, p in transformer.named_parameters())
    assert (loras.names, loras.pristine_bytes()) == ((), 0)
    with pytest.raises(KeyError):
        loras.drop("b")


def test_a_merge_at_a_border_equals_one_at_load() -> None:
    transformer, loras = with_two()
    base = weights_of(transformer)
    both = [(fitted(lora_tensors(transformer, seed), base, Path("x")), scale) for seed, scale in ((0, 0.7), (1, -1.5))]
    expected = merged(base, both)
    loras.merge((LoraScale("a", 0.7), LoraScale("b", -1.5)))
    assert all(torch.equal(p, expected[name]) for name, p in transformer.named_parameters())
    touched = {c.parameter for lora, _ in both for c in lora.changes}
    assert loras.pristine_bytes() == sum(base[name].nbytes for name in touched)


# -- takes --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator() -> Generator:
    generator = tiny_model(knot=1).generator
    assert isinstance(generator.transformer, CausalWanTransformer)
    assert generator.loras is not None
    for seed, name in enumerate("ab"):
        base = generator.transformer.state_dict()
        generator.loras.add(name, name, fitted(lora_tensors(generator.transformer, seed), base, Path(name)).changes)
    return generator


def drawn(generator: Generator, *chunks: list[Cue]) -> list[Tensor]:
    state = generator.new_take(3, 32, 32)
    latents = []
    for cues in chunks:
        latents.append(generator.draw(state, cues))
        if not cues:
            generator.commit(state)
    return latents


START: list[Cue] = [Prompt("one")]


def values_of(text: TextState) -> list[Tensor]:
    return [values for _, values in text.layers]


def test_takes_with_different_loras_on_one_device_are_kept_apart(generator: Generator) -> None:
    ways: list[list[list[Cue]]] = [
        [START, [], [], []],
        [[LoraScale("a", 1.0), *START], [], [LoraScale("a", 0.5)], []],
        [START, [LoraScale("b", -1.0)], [Prompt("two"), LoraScale("a", 1.0)], [LoraScale("b", 0.0)]],
    ]
    alone = [drawn(generator, *chunks) for chunks in ways]
    assert len({tuple(x[-1].flatten().tolist()) for x in alone}) == 3
    states = [generator.new_take(3, 32, 32) for _ in ways]
    for chunk in range(4):
        for state, chunks, expected in zip(states, ways, alone, strict=True):
            assert torch.equal(generator.draw(state, chunks[chunk]), expected[chunk])
        for state in states if chunk % 2 else []:  # whether the clean pass runs at once or only later
            generator.commit(state)


@pytest.mark.parametrize("how", ["recache", "none", "flush", "clear"])
def test_a_scale_makes_text_keys_anew_and_the_cache_as_the_setting_says(generator: Generator, how: str) -> None:
    state = generator.new_take(3, 32, 32)
    generator.draw(state, START)
    generator.draw(state)
    generator.apply_cues(state, [Parameter("on_lora", how)])
    old = state.cache.snapshot()
    assert state.text is not None
    before = state.text
    generator.apply_cues(state, [LoraScale("a", 1.0)])
    assert not torch.equal(before.layers[0][1], state.text.layers[0][1])
    assert all(map(torch.equal, values_of(state.text), values_of(generator.text("one"))))
    assert len(state.recent) == (0 if how == "clear" else 2)
    new = state.cache.snapshot()
    same = [torch.equal(x.layers[-1][0], y.layers[-1][0]) for x, y in zip(old.pieces, new.pieces, strict=False)]
    assert all(same) is (how != "recache")


def test_the_pending_clean_pass_runs_under_the_weights_that_drew_the_chunk(generator: Generator) -> None:
    keep: list[Cue] = [Parameter("on_lora", "none")]
    later = generator.new_take(3, 32, 32)
    at_once = generator.new_take(3, 32, 32)
    for state in (later, at_once):
        generator.draw(state, [*keep, *START])
    generator.commit(at_once)
    assert not replaces_commit(later, [LoraScale("a", 1.0)])
    assert replaces_commit(later, [LoraScale("a", 1.0), Parameter("on_lora", "recache")])
    assert not replaces_commit(later, [LoraScale("a", 0.0), Parameter("on_lora", "recache")])
    for state in (later, at_once):
        generator.draw(generator.new_take(4, 32, 32), [LoraScale("b", 2.0), *START])  # another take, in between
        generator.draw(state, [LoraScale("a", 1.0)])
    assert torch.equal(later.recent[-1], at_once.recent[-1])


def test_a_scale_that_is_there_already_changes_nothing(generator: Generator) -> None:
    with_it = drawn(generator, [LoraScale("a", 0.5), *START], [], [LoraScale("a", 0.5)], [])
    without = drawn(generator, [LoraScale("a", 0.5), *START], [], [LoraScale("b", 0.0)], [])
    assert all(torch.equal(x, y) for x, y in zip(with_it, without, strict=True))


def test_a_snapshot_brings_its_loras_back(generator: Generator, tmp_path: Path) -> None:
    state = generator.new_take(3, 32, 32)
    generator.draw(state, [LoraScale("a", 1.0), *START])
    save_snapshot(generator.snapshot(state), tmp_path / "s")
    expected = [generator.draw(state), generator.draw(state, [Cut()])]
    generator.draw(state, [LoraScale("a", 0.0), LoraScale("b", 2.0)])
    back = generator.restore(load_snapshot(tmp_path / "s", generator.device, generator.dtype))
    assert back.loras == (LoraScale("a", 1.0),)
    bare = generator.restore(generator.snapshot(back, keys=False))
    assert bare.text is not None
    assert back.text is not None
    assert all(map(torch.equal, values_of(bare.text), values_of(back.text)))
    assert torch.equal(generator.draw(back), expected[0])
    assert torch.equal(generator.draw(back, [Cut()]), expected[1])


def test_what_cannot_be_merged_is_refused_in_one_line(generator: Generator) -> None:
    state = generator.new_take(3, 32, 32)
    with pytest.raises(CueError, match="no LoRA is called 'c'; there are a, b"):
        generator.apply_cues(state, [LoraScale("c", 1.0)])
    with pytest.raises(CueError, match="17 LoRAs at a time are too many"):
        generator.apply_cues(generator.new_take(3, 32, 32), [LoraScale(f"{i}", 1.0) for i in range(17)])
    assert generator.loras is not None
    engine = generator.run_by(generator.transformer)
    with pytest.raises(CueError, match=r"takes no LoRA \(a\); use --engine torch"):
        engine.apply_cues(engine.new_take(3, 32, 32), [LoraScale("a", 1.0)])
    at = "blocks.0.attn1.to_q.weight"
    with pytest.raises(LoraError, match="another LoRA of this name"):
        generator.loras.add("a", "other", ())
    for change in (
        LowRank(at, torch.full((2, 48), 1e20), torch.full((48, 2), 1e20), 1.0),
        Difference(at, torch.full((48, 48), 3e38)),
    ):
        with pytest.raises(LoraError, match="too large"):
            generator.loras.add("huge", "d", [change])
    whole = nn.Linear(2, 2)
    whole.weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    with pytest.raises(LoraError, match="weight is quantised"):
        MergedLoras(whole).add("a", "d", [Difference("weight", torch.ones(2, 2))])


@pytest.mark.parametrize(
    ("name", "more", "warns"),
    [
        ("Wan21_CausVid_lora.safetensors", {}, "its name says 'CausVid'"),
        ("wan_t2v_lightx2v_step_distill.safetensors", {}, "its name says 'lightx2v'"),
        ("x.safetensors", {"self_attn.q.diff_b": 48, "norm3.diff": 48}, "it changes biases and norms"),
        ("watercolour.safetensors", {}, None),
    ],
)
def test_a_lora_that_distils_is_warned_of(tmp_path: Path, name: str, more: dict[str, int], warns: str | None) -> None:
    from safetensors.torch import save_file

    transformer = tiny_model().generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    path = lora_file(tmp_path / name, transformer)
    extra = {f"diffusion_model.blocks.0.{key}": torch.ones(width) for key, width in more.items()}
    save_file(load_file(path) | extra, path)
    notes = lora_for(path, transformer.state_dict(), "pocket").notes
    assert [warns in note and "distilled twice" in note for note in notes if warns] == ([True] if warns else [])
    assert bool(notes) is bool(warns)
