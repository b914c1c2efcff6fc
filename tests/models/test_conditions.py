"""A take goes on behind a prefix as behind the same latents drawn."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model
from rolling import START, next_coordinates, next_sees, odd_model, roll

from models.cue import CueError


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
