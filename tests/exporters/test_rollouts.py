"""Engines are compared on rollouts that use all of a model: its prompts, or its portrait and its voice."""

from __future__ import annotations

import pytest
import torch
from conftest import BrightnessJudge, tiny_avatar, tiny_model, with_rollout

from exporters.parity import adherence, rollout
from exporters.rollouts import roll, script, syllables
from models.time_grid import TimeGrid


def test_a_model_that_speaks_is_given_a_portrait_and_something_like_speech() -> None:
    take = script(3, 4, (2,))
    first, again = ([latents for _, latents in roll(tiny_avatar(), take)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    heard = torch.from_numpy(syllables(take, TimeGrid(3, 3)).latents(0, 12))[:, :-1]
    assert heard.max() > 0.3  # as loud as speech
    assert heard.mean(2).std() > 0.1  # and it comes and goes


def test_another_knot_or_voice_shows_in_the_long_take() -> None:
    series = rollout(tiny_avatar(knot=1), tiny_avatar(knot=2), 12, lambda said: None)
    assert max(series["largest"]) > 1e-4
    same = rollout(tiny_avatar(), tiny_avatar(), 12, lambda said: None)
    assert max(same["largest"]) == 0


@pytest.mark.parametrize(
    ("layout", "latents", "frames"),
    [
        ({"chunk": 3, "window": 9, "sink": 3, "first_chunk": 1}, 13, [1, 12, 12, 12, 12]),
        ({"chunk": 2, "window": 6, "sink": 1}, 10, [5, 8, 8, 8, 8]),
        ({"chunk": 2, "window": 7, "sink": 1, "first_chunk": 5}, 13, [17, 8, 8, 8, 8]),
    ],
    ids=["a first chunk of 1", "chunks of 2 and a sink of 1", "a first chunk of 5"],
)
def test_engines_are_compared_over_chunks_of_any_length(
    layout: dict[str, int], latents: int, frames: list[int]
) -> None:
    model = with_rollout(tiny_model(), **layout)
    other = with_rollout(model, anchor="fixed")  # stands for an engine that computes something else
    judge = BrightnessJudge()
    taken = roll(model, script(7, len(frames), (1, 3)))
    assert [len(state.codec.decode(x)) for state, x in taken] == frames
    series = rollout(model, other, latents, lambda said: None, judge)
    assert all(len(values) == len(frames) for values in series.values())
    assert series["largest"][0] == 0
    assert max(series["largest"]) > 1e-4
    equal = adherence(model, model, judge, 2, lambda said: None)
    assert (equal.loss, equal.judgments > 0) == (0, True)
