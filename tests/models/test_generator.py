"""Takes depend on their cues and seeds alone: snapshots, batches, cuts and shifted coordinates change nothing."""

from __future__ import annotations

import pytest
import torch
from conftest import TINY, tiny_model, tiny_text
from rolling import START, next_sees, odd_model, roll

from models.cache import SINK, RingCache
from models.cache_protocol import Visible
from models.cache_shape import AnchorPolicy, CacheShape
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Seed
from models.generator import Generator
from models.rope import rotation
from models.state import TakeState
from models.time_grid import TimeGrid
from models.transformer import CausalWanTransformer


@torch.no_grad()
def test_cached_clean_passes_equal_one_block_causal_forward() -> None:
    """Keys of six chunks cached one after another give the last chunk's output of a masked forward over all."""
    torch.manual_seed(1)
    transformer = CausalWanTransformer(**TINY).eval()
    text, chunks = transformer.embed_text(tiny_text(["x"])), 4
    latents = torch.randn(1, 4, 3 * chunks, 4, 4)
    cache = RingCache(
        CacheShape(2, 2, 24, 2, 2, TimeGrid(3, 3), 12, 3), AnchorPolicy.FIXED, torch.device("cpu"), torch.float32
    )
    outs = []
    for c in range(chunks):
        where = cache.begin(3 * c, 3, clean=True)
        outs.append(transformer(latents[:, :, 3 * c : 3 * c + 3], torch.zeros(1), text, where, cache))
        cache.end()

    class BlockCausal:
        """Query block by query block is not possible in one pass, so a mask is: rows see blocks up to their own."""

        def extend(self, layer, key, value, rotation):  # type: ignore[no-untyped-def]
            return Visible(rotation(key), value)

    tokens = 3 * 4
    block = torch.arange(chunks).repeat_interleave(tokens)
    mask = block[:, None] >= block[None]
    import models.transformer as module

    real = module.attend

    def masked(q, k, v, lengths=(), bias=None):  # type: ignore[no-untyped-def]
        if k.shape[1] != len(block):
            return real(q, k, v, lengths, bias)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)

    module.attend = masked
    try:
        whole = transformer(
            latents, torch.zeros(1), text, rotation(range(12), 2, 2, 24, torch.device("cpu")), BlockCausal()
        )
    finally:
        module.attend = real
    torch.testing.assert_close(torch.cat(outs, 2), whole, atol=2e-5, rtol=0)


def test_the_sink_is_the_same_to_the_bit_after_many_evictions() -> None:
    model = tiny_model(AnchorPolicy.FIXED)
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 1, START)
    before = [keys[:, :, :12].clone() for keys in next_sees(model.generator, state)]
    roll(model.generator, state, 30)
    after = [keys[:, :, :12] for keys in next_sees(model.generator, state)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("knot", [0, 2])
@pytest.mark.parametrize("policy", list(AnchorPolicy))
def test_shifting_all_coordinates_by_100_000_changes_nothing(policy: AnchorPolicy, knot: int) -> None:
    results = []
    for shift in (0, 99_999):
        model = tiny_model(policy, knot=knot)
        state = model.generator.new_take(0, 32, 32)
        state.cache.clear(shift)
        real_begin, real_recache = state.cache.begin, state.cache.begin_recache
        state.cache.begin = lambda first, n, *, clean=False, s=shift, f=real_begin: f(first + s, n, clean=clean)  # type: ignore[method-assign]
        state.cache.begin_recache = lambda first, n, s=shift, f=real_recache: f(first + s, n)  # type: ignore[method-assign]
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
    assert state.cache.anchors[SINK].captured_at == 6


def test_a_cut_where_a_take_begins_holds_no_frame(model: Model) -> None:
    state = model.generator.new_take(0, 32, 32)
    latents = model.generator.draw(state, [Cut(), Prompt("one")])
    assert len(state.codec.decode(latents)) == 9


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


def steps_of(generator: Generator, state: TakeState, cues: list[Cue]) -> int:
    """Count the steps that the next chunk takes."""
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1

    generator.draw(state, cues, before_step=counted)
    return count


def test_only_a_first_chunk_has_its_own_length_and_only_chunks_without_a_past_their_own_steps() -> None:
    generator = odd_model().generator
    state = generator.new_take(0, 32, 32)
    assert [steps_of(generator, state, START.get(i, [])) for i in range(3)] == [4, 2, 2]
    assert [x.shape[2] for x in state.recent] == [1, 3, 3]
    assert steps_of(generator, state, [Cut()]) == 4
    assert state.recent[-1].shape[2] == 3  # time goes on, and with it the grid
    assert steps_of(generator, state, []) == 2


@pytest.mark.parametrize(("sink", "window", "first_chunk"), [(1, 8, 1), (2, 6, 3), (4, 7, 2), (0, 5, 1), (2, 5, 5)])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_snapshot_amid_any_layout_goes_on_to_the_bit(sink: int, window: int, first_chunk: int, at: int) -> None:
    generator = odd_model(first_chunk, sink, window).generator
    cues: dict[int, list[Cue]] = {
        0: [Prompt("one")],
        2: [Prompt("two")],
        4: [Parameter("on_switch", "flush"), Prompt("three")],
        7: [Cut()],
    }
    state = generator.new_take(3, 32, 32)
    roll(generator, state, at, cues)
    rest = {i - at: c for i, c in cues.items() if i >= at}
    snapshot = generator.snapshot(state)
    straight = roll(generator, state, 6, rest)
    assert torch.equal(straight, roll(generator, generator.restore(snapshot), 6, rest))
