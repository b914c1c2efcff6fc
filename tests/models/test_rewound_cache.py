"""A rewind takes over the cache that it replaces."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model
from rolling import START, roll

from models.cue import Prompt, Seed
from streaming.rollout import Rollout
from streaming.take.take_file import CueLine, Take


def test_a_rewind_needs_no_second_cache_and_draws_the_same() -> None:
    model = tiny_model()
    take = Take(model=model.entry.name, size="64x32", cues=[CueLine(prompt="one")])
    rollout = Rollout(model, take, keep_mb=100)
    first = [boundary.hash for boundary in rollout.until(6)]
    cache = rollout.state.cache
    at = rollout.go_back(model.entry.rollout.grid.start(3))
    assert rollout.state.cache is cache
    assert at == model.entry.rollout.grid.start(3)
    assert [boundary.hash for boundary in rollout.until(6)] == first[3:]


def test_a_rewind_behind_another_seed_needs_no_second_cache_either() -> None:
    generator = tiny_model().generator
    state = generator.new_take(0, 64, 32)
    roll(generator, state, 2, START)
    snapshot = generator.snapshot(state)
    wanted = roll(generator, generator.restore(snapshot), 2)
    roll(generator, state, 1, {0: [Seed(7)]})
    assert state.seeds == (7,)
    again = generator.restore(snapshot, state)
    assert again.cache is state.cache
    assert torch.equal(wanted, roll(generator, again, 2))


def test_a_chunk_that_was_given_up_leaves_nothing_in_the_cache_of_the_rewind() -> None:
    generator = tiny_model().generator
    state = generator.new_take(0, 64, 32)
    roll(generator, state, 4, START)
    snapshot = generator.snapshot(state)
    wanted = roll(generator, generator.restore(snapshot), 3)
    steps = iter([None, StopIteration("given up")])

    def give_up() -> None:
        if next(steps) is not None:
            raise RuntimeError("given up")

    with pytest.raises(RuntimeError, match="given up"):
        generator.draw(state, [Prompt("another")], before_step=give_up)
    assert torch.equal(wanted, roll(generator, generator.restore(snapshot, state), 3))


def test_a_take_of_another_size_gets_a_cache_of_its_own() -> None:
    generator = tiny_model().generator
    small, large = generator.new_take(0, 64, 32), generator.new_take(0, 64, 64)
    roll(generator, small, 1, START)
    again = generator.restore(generator.snapshot(small), large)
    assert again.cache is not large.cache
    assert again.size == (64, 32)
