"""What the causal generator promises of its cache, its switches and its snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import TINY, tiny_model, tiny_text

from models.cache import SINK, RingCache
from models.cache_protocol import Visible
from models.cache_shape import AnchorPolicy, CacheShape
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Seed
from models.generator import REMEMBERED_PROMPTS, CueError, Generator
from models.rope import rotation
from models.sampler import Schedule
from models.state import TakeState
from models.time_grid import TimeGrid
from models.transformer import CausalWanTransformer


def roll(generator: Generator, state: TakeState, chunks: int, cues: dict[int, list[Cue]] | None = None) -> torch.Tensor:
    out = []
    for i in range(chunks):
        out.append(generator.draw(state, (cues or {}).get(i, [])))
        generator.commit(state)
    return torch.cat(out, 2)


def next_sees(generator: Generator, state: TakeState) -> list[torch.Tensor]:
    """Keys and values of all layers that the next chunk sees behind it, [layers, batch, tokens, heads, d]."""
    state.cache.begin(state.index, generator.config.grid.length(state.index))
    past = state.cache.past()
    state.cache.end()
    return list(past)


def next_coordinates(state: TakeState, latents: int = 3) -> list[int]:
    """Coordinates of all that the next chunk of so many latents sees, itself included, in order."""
    s, cache = state.cache.shape, state.cache
    with torch.inference_mode():
        turn = cache.begin(state.index, latents)
        x = torch.zeros(s.batch, latents * s.tokens, s.heads, s.head_dim)
        seen = cache.extend(0, x, x, turn).coordinates
        cache.end()
    return sorted(seen)


START: dict[int, list[Cue]] = {0: [Prompt("one")]}


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
        before = state.cache.anchors[SINK]
        model.generator.draw(state, [Prompt("two")])
        assert (state.cache.anchors[SINK] is not before) is rewritten, f"after {chunks} chunks"


def test_reanchor_makes_the_oldest_recached_chunk_the_sink(model: Model) -> None:
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 8, {0: [Prompt("one"), Parameter("sink_on_switch", "reanchor")]})
    model.generator.draw(state, [Prompt("two")])
    assert state.cache.anchors[SINK].captured_at == 24 - 12
    roll(model.generator, state, 6)
    assert next_coordinates(state) == [*range(36, 39), *range(39, 45), *range(45, 48)]  # sink, past, chunk


@pytest.mark.parametrize(
    ("policy", "seen"),
    [
        ("recache", [*range(15, 27)]),
        ("none", [*range(15, 27)]),
        ("flush", [*range(20, 27)]),
        ("clear", [*range(24, 27)]),
    ],
)
def test_what_each_switch_leaves_visible(model: Model, policy: str, seen: list[int]) -> None:
    """The sink trails: it stands just before the first past latent that is left."""
    state = model.generator.new_take(0, 32, 32)
    roll(model.generator, state, 8, {0: [Prompt("one"), Parameter("on_switch", policy)]})
    model.generator.apply_cues(state, [Prompt("two")])
    assert next_coordinates(state) == seen


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


def odd_model(first_chunk: int | None = 1, sink: int = 1, window: int = 8) -> Model:
    """A model with a first chunk and a sink that are no chunks, and more steps where nothing lies behind a chunk."""
    model = tiny_model()
    more = Schedule.warped((1000, 750, 500, 250), 3.0)
    rollout = replace(model.entry.rollout, sink=sink, window=window, first_chunk=first_chunk, first_schedule=more)
    return replace(model, generator=model.generator.with_config(rollout))


def steps_of(generator: Generator, state: TakeState, cues: list[Cue]) -> int:
    """How many steps the next chunk takes."""
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


def test_a_take_goes_on_behind_a_prefix_as_behind_the_same_latents_drawn() -> None:
    """The prefix is committed chunk by chunk; only the noise counts from its end on, and the steps of a first chunk."""
    generator = tiny_model().generator
    drawn = generator.new_take(0, 32, 32)
    film = roll(generator, drawn, 4, START)
    given = generator.new_take(0, 32, 32)
    generator.apply_cues(given, START[0])
    generator.prefill(given, film)
    assert (given.index, given.prefix, next_coordinates(given)) == (12, 12, next_coordinates(drawn))
    assert torch.equal(next_sees(generator, given)[0], next_sees(generator, drawn)[0])
    fresh = generator.new_take(0, 32, 32)
    assert torch.equal(generator.noise(given, 1), generator.noise(fresh, 1))
    again = generator.restore(generator.snapshot(given))
    assert torch.equal(roll(generator, given, 3), roll(generator, again, 3))


def test_a_prefix_that_cannot_be_one_is_refused() -> None:
    generator = odd_model().generator
    state = generator.new_take(0, 32, 32)
    latents = torch.zeros(1, 4, 4, 4, 4)
    with pytest.raises(CueError, match="needs a prompt before its prefix"):
        generator.prefill(state, latents)
    generator.apply_cues(state, START[0])
    with pytest.raises(CueError, match="whole chunks of 3 latents, not 3"):
        generator.prefill(state, latents[:, :, :3])
    generator.prefill(state, latents)
    generator.draw(state)
    with pytest.raises(CueError, match="this one has begun"):
        generator.prefill(state, latents[:, :, :3])


def test_a_recache_of_a_part_of_a_chunk_sees_the_latents_that_the_window_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Window 8, sink 1 and chunks of 1, 3, 3 …: seven latents are recached, the oldest of them amid a chunk."""
    generator = odd_model().generator
    state = generator.new_take(0, 32, 32)
    film = roll(generator, state, 5, START)
    passes: list[torch.Tensor] = []
    monkeypatch.setattr(generator, "with_mask", lambda x, given: passes.append(x) or x)
    generator.apply_cues(state, [Prompt("two")])
    assert len(passes) == 1
    assert torch.equal(passes[0], film[:, :, -7:])
    assert [x.shape[2] for x in state.recent] == [3, 3, 3]
    assert next_coordinates(state) == list(range(8, 16))  # sink, four of the past, chunk
