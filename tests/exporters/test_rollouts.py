"""Engines are compared on rollouts that use all of a model: its prompts, or its portrait and its voice."""

from __future__ import annotations

import torch
from conftest import tiny_avatar

from exporters.parity import rollout
from exporters.rollouts import _spoken, roll, script
from models.time_grid import TimeGrid


def test_a_model_that_speaks_is_given_a_portrait_and_something_like_speech() -> None:
    take = script(3, 4, (2,))
    first, again = ([latents for _, latents in roll(tiny_avatar(), take)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    heard = torch.from_numpy(_spoken(take, TimeGrid(3, 3)).latents(0, 12))[:, :-1]
    assert heard.max() > 0.3  # as loud as speech
    assert heard.mean(2).std() > 0.1  # and it comes and goes


def test_another_knot_or_voice_shows_in_the_long_take() -> None:
    series = rollout(tiny_avatar(knot=1), tiny_avatar(knot=2), 12, lambda said: None)
    assert max(series["largest"]) > 1e-4
    same = rollout(tiny_avatar(), tiny_avatar(), 12, lambda said: None)
    assert max(same["largest"]) == 0
