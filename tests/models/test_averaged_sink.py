"""A sink that is averaged takes in the keys and values of what leaves the window, before rotation (Reward-Forcing)."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model, with_rollout
from rolling import START, next_coordinates, roll
from torch import Tensor

from models.cache import SINK
from models.cache_shape import AnchorPolicy
from models.cue import Cue, Prompt
from models.rope import Rotation
from models.state import TakeState

SHARE = 0.75


def captured(state: TakeState, into: list[tuple[Tensor, Tensor]]) -> None:
    """Have the first layer's keys before rotation and values of every clean pass put into a list."""
    extend = state.cache.extend

    def watched(layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> object:
        if layer == 0 and not state.pending_draw:  # type: ignore[attr-defined]
            into.append((key.clone(), value.clone()))
        return extend(layer, key, value, rotation)

    state.cache.extend = watched  # type: ignore[method-assign, assignment]


def test_the_sink_is_the_running_average_of_the_chunks_that_left() -> None:
    generator = with_rollout(tiny_model(window=9), sink_average=SHARE).generator
    state, chunks = generator.new_take(0, 32, 32), list[tuple[Tensor, Tensor]]()
    captured(state, chunks)
    for chunk in range(6):
        state.pending_draw = True  # type: ignore[attr-defined]
        cues: list[Cue] = [Prompt("one")] if chunk == 0 else []
        generator.draw(state, cues)
        state.pending_draw = False  # type: ignore[attr-defined]
        generator.commit(state)
    expected_k, expected_v = chunks[0]
    for k, v in chunks[1:4]:  # of six chunks the newest two are in the ring, and one left with every chunk since
        expected_k, expected_v = SHARE * expected_k + (1 - SHARE) * k, SHARE * expected_v + (1 - SHARE) * v
    k, v = state.cache.anchors[SINK].layers[0]
    torch.testing.assert_close(k, expected_k, atol=1e-5, rtol=0)
    torch.testing.assert_close(v, expected_v, atol=1e-5, rtol=0)
    assert next_coordinates(state) == list(range(12, 21))


def test_a_take_goes_on_from_a_snapshot_with_its_averaged_sink() -> None:
    generator = with_rollout(tiny_model(window=9), sink_average=SHARE).generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 5, START)
    again = generator.restore(generator.snapshot(state))
    assert torch.equal(roll(generator, again, 3), roll(generator, state, 3))


def test_a_sink_of_another_length_than_a_chunk_is_not_averaged() -> None:
    with pytest.raises(ValueError, match="as long as a chunk"):
        with_rollout(tiny_model(AnchorPolicy.TRAILING, sink=2, window=9), sink_average=SHARE)
