"""A prompt change writes anew, keeps or drops exactly what its setting says."""

from __future__ import annotations

import pytest
import torch
from rolling import START, next_coordinates, odd_model, roll

from models.cache import SINK
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Seed
from models.generator import Generator
from models.state import TakeState


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


def test_a_recache_of_a_part_of_a_chunk_sees_the_latents_that_the_window_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Window 8, sink 1 and chunks of 1, 3, 3 …: seven latents are recached, the oldest of them amid a chunk."""
    generator = odd_model().generator
    state = generator.new_take(0, 32, 32)
    film = roll(generator, state, 5, START)
    passes: list[torch.Tensor] = []
    forward = generator.transformer.forward
    monkeypatch.setattr(generator.transformer, "forward", lambda x, *a, **k: passes.append(x) or forward(x, *a, **k))
    generator.apply_cues(state, [Prompt("two")])
    assert len(passes) == 1
    assert torch.equal(passes[0], film[:, :, -7:])
    assert [x.shape[2] for x in state.recent] == [3, 3, 3]
    assert next_coordinates(state) == list(range(8, 16))  # sink, four of the past, chunk


def passes_of(generator: Generator, state: TakeState, cues: list[Cue]) -> list[tuple[int, bool]]:
    """Return latents and kind (True: clean, without a head) of the passes that these cues make necessary."""
    made: list[tuple[int, bool]] = []
    forward = generator.transformer.forward

    def counted(x: torch.Tensor, *inputs: object, **named: object) -> torch.Tensor | None:
        made.append((x.shape[2], named.get("head") is False))
        return forward(x, *inputs, **named)

    generator.transformer.forward = counted
    try:
        generator.apply_cues(state, cues)
    finally:
        generator.transformer.forward = forward
    return made


@pytest.mark.parametrize(
    ("cues", "passes"),
    [
        ([], [3]),
        ([Seed(1)], [3]),
        ([Prompt("one")], [3]),
        ([Prompt("two")], [9]),
        ([Prompt("two"), Seed(1)], [9]),
        ([Parameter("on_switch", "clear"), Prompt("two")], []),
        ([Parameter("on_switch", "flush"), Prompt("two")], [3]),
        ([Parameter("on_switch", "none"), Prompt("two")], [3]),
        ([Cut()], []),
        ([Cut(), Prompt("two")], []),
    ],
    ids=["nothing", "seed", "same prompt", "prompt", "prompt and seed", "clear", "flush", "none", "cut", "cut to"],
)
def test_a_recache_or_a_cut_takes_the_place_of_the_commit_that_is_pending(
    model: Model, cues: list[Cue], passes: list[int]
) -> None:
    generator = model.generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 2, START)
    generator.draw(state)  # three chunks of three latents, the last without its clean pass
    assert passes_of(generator, state, cues) == [(latents, True) for latents in passes]
    assert not state.pending
