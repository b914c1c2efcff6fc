"""What the causal generator promises of its cache, its switches and its snapshots."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, tiny_model, tiny_text

from models.cache import RingCache
from models.cache_shape import AnchorPolicy, CacheShape
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Seed
from models.generator import Generator
from models.rope import rotation
from models.state import TakeState
from models.transformer import CausalWanTransformer


def roll(generator: Generator, state: TakeState, chunks: int, cues: dict[int, list[Cue]] | None = None) -> torch.Tensor:
    out = []
    for i in range(chunks):
        out.append(generator.draw(state, (cues or {}).get(i, [])))
        generator.commit(state)
    return torch.cat(out, 2)


START: dict[int, list[Cue]] = {0: [Prompt("one")]}


@torch.no_grad()
def test_cached_clean_passes_equal_one_block_causal_forward() -> None:
    """Keys of six chunks cached one after another give the last chunk's output of a masked forward over all."""
    torch.manual_seed(1)
    transformer = CausalWanTransformer(**TINY).eval()
    text, chunks = transformer.embed_text(tiny_text(["x"])), 4
    latents = torch.randn(1, 4, 3 * chunks, 4, 4)
    cache = RingCache(CacheShape(2, 2, 24, 2, 2, 3, 12, 3), AnchorPolicy.FIXED, torch.device("cpu"), torch.float32)
    outs = []
    for c in range(chunks):
        where = cache.begin(3 * c, clean=True)
        outs.append(transformer(latents[:, :, 3 * c : 3 * c + 3], torch.zeros(1), text, where, cache))
        cache.end()

    class BlockCausal:
        """Query block by query block is not possible in one pass, so a mask is: rows see blocks up to their own."""

        def extend(self, layer, key, value, rotation):  # type: ignore[no-untyped-def]
            return rotation(key), value

    tokens = 3 * 4
    block = torch.arange(chunks).repeat_interleave(tokens)
    mask = block[:, None] >= block[None]
    import models.transformer as module

    real = module.dispatch_attention_fn

    def masked(q, k, v):  # type: ignore[no-untyped-def]
        return real(q, k, v, attn_mask=mask[None, None] if k.shape[1] == len(block) else None)

    module.dispatch_attention_fn = masked
    try:
        whole = transformer(
            latents, torch.zeros(1), text, rotation(range(12), 2, 2, 24, torch.device("cpu")), BlockCausal()
        )
    finally:
        module.dispatch_attention_fn = real
    torch.testing.assert_close(torch.cat(outs, 2), whole, atol=2e-5, rtol=0)


def test_the_sink_is_the_same_to_the_bit_after_many_evictions() -> None:
    model = tiny_model(AnchorPolicy.FIXED)
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 1, START)
    assert state.cache.sink is not None
    before = [t.clone() for pair in state.cache.sink.layers for t in pair]
    buffer = [k[:, : state.cache._ring_at].clone() for k in state.cache._keys]
    roll(model.generator, state, 30)
    after = [t for pair in state.cache.sink.layers for t in pair]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, k[:, : state.cache._ring_at]) for a, k in zip(buffer, state.cache._keys, strict=True))


@pytest.mark.parametrize("knot", [0, 2])
@pytest.mark.parametrize("policy", list(AnchorPolicy))
def test_shifting_all_coordinates_by_100_000_changes_nothing(policy: AnchorPolicy, knot: int) -> None:
    results = []
    for shift in (0, 99_999):
        model = tiny_model(policy, knot=knot)
        state = model.generator.new_take(0, 32, 32)
        state.cache.clear(shift)
        real_begin, real_recache = state.cache.begin, state.cache.begin_recache
        state.cache.begin = lambda first, *, clean=False, s=shift, f=real_begin: f(first + s, clean=clean)  # type: ignore[method-assign]
        state.cache.begin_recache = lambda first, n, *, into_sink, s=shift, f=real_recache: f(
            first + s, n, into_sink=into_sink
        )  # type: ignore[method-assign]
        out = []
        for i in range(8):
            out.append(model.generator.draw(state, START.get(i, [])))
        results.append(torch.cat(out, 2))
    torch.testing.assert_close(results[0], results[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("knot", [0, 1])
@pytest.mark.parametrize("at", [1, 3, 7])
def test_snapshot_restore_and_fork_are_identical_to_the_bit(at: int, knot: int) -> None:
    generator = tiny_model(knot=knot).generator
    cues: dict[int, list[Cue]] = {0: [Prompt("one")], 2: [Prompt("two", blend=3)], 6: [Cut(), Prompt("three")]}
    state = generator.new_take(3, 32, 32)
    roll(generator, state, at, cues)
    snapshot = generator.snapshot(state)
    rest = {i - at: c for i, c in cues.items() if i >= at}
    straight = roll(generator, state, 9, rest)
    for _ in range(2):
        assert torch.equal(straight, roll(generator, generator.restore(snapshot), 9, rest))


def test_a_commit_that_a_recache_makes_needless_changes_nothing(model: Model) -> None:
    results = []
    for commits in (True, False):
        state = model.generator.new_take(0, 32, 32)
        out = []
        for i in range(9):
            out.append(model.generator.draw(state, [Prompt("one" if i < 6 else "two")]))
            if commits:
                model.generator.commit(state)
        results.append(torch.cat(out, 2))
    assert torch.equal(*results)


def test_a_switch_in_a_short_prefix_rewrites_the_sink_and_a_later_one_keeps_it(model: Model) -> None:
    for chunks, rewritten in ((2, True), (4, True), (5, False)):
        state = model.generator.new_take(0, 32, 32)
        roll(model.generator, state, chunks, START)
        before = state.cache.sink
        model.generator.draw(state, [Prompt("two")])
        assert (state.cache.sink is not before) is rewritten, f"after {chunks} chunks"


def test_reanchor_makes_the_oldest_recached_chunk_the_sink(model: Model) -> None:
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 8, {0: [Prompt("one"), Parameter("sink_on_switch", "reanchor")]})
    model.generator.draw(state, [Prompt("two")])
    assert state.cache.sink is not None
    assert state.cache.sink.captured_at == 24 - 12
    roll(model.generator, state, 6)
    assert state.cache.visible_past() == list(range(45 - 9, 45))


@pytest.mark.parametrize(
    ("policy", "past"), [("recache", range(18, 24)), ("none", range(18, 24)), ("flush", [23]), ("clear", [])]
)
def test_what_each_switch_leaves_visible(model: Model, policy: str, past: list[int]) -> None:
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 8, {0: [Prompt("one"), Parameter("on_switch", policy)]})
    model.generator.draw(state, [Prompt("two")])
    assert state.cache.visible_past() == list(past)
    assert (state.cache.sink is None) is (policy == "clear")


def test_the_same_prompt_again_is_no_switch(model: Model) -> None:
    takes = []
    for again in ([], [Prompt("one")]):
        state = model.generator.new_take(0, 32, 32)
        takes.append(roll(model.generator, state, 6, {0: [Prompt("one")], 4: again}))
    assert torch.equal(*takes)


def test_a_seed_cue_changes_what_follows_and_nothing_before(model: Model) -> None:
    a = roll(model.generator, model.generator.new_take(0, 32, 32), 5, START)
    b = roll(model.generator, model.generator.new_take(0, 32, 32), 5, {**START, 3: [Seed(9)]})
    assert torch.equal(a[:, :, :9], b[:, :, :9])
    assert not torch.equal(a[:, :, 9:12], b[:, :, 9:12])


def test_a_cut_forgets_the_past_and_keeps_time(model: Model) -> None:
    state = model.generator.new_take(0, 32, 32)
    frames = []
    for i in range(4):
        latents = model.generator.draw(state, [Cut(), Prompt("two")] if i == 2 else START.get(i, []))
        frames.append(len(state.codec.decode(latents)))
        model.generator.commit(state)
    assert frames == [9, 12, 12, 12]
    assert state.cache.sink is not None
    assert state.cache.sink.captured_at == 6


@pytest.mark.parametrize("knot", [0, 1])
def test_takes_in_one_batch_are_the_takes_by_themselves(knot: int) -> None:
    generator = tiny_model(knot=knot).generator
    prompts = [("one", "x"), ("two", "y")]
    together = generator.new_take((1, 2), 32, 32)
    batch = roll(generator, together, 9, {0: [Prompt(prompts[0])], 5: [Prompt(prompts[1])]})
    for row, seed in enumerate((1, 2)):
        cues: dict[int, list[Cue]] = {0: [Prompt(prompts[0][row])], 5: [Prompt(prompts[1][row])]}
        alone = roll(generator, generator.new_take(seed, 32, 32), 9, cues)
        torch.testing.assert_close(batch[row : row + 1], alone, atol=1e-4, rtol=0)


def test_a_size_that_is_not_whole_patches_is_refused(model: Model) -> None:
    with pytest.raises(ValueError, match="33x32 is not a multiple of 16x16"):
        model.generator.new_take(0, 33, 32)
