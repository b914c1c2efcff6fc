"""Roll tiny models out for tests, and ask what their next chunk sees."""

from __future__ import annotations

import torch
from conftest import tiny_model, with_rollout

from models.checkpoints.assemble import Model
from models.cue import Cue, Prompt
from models.generator import Generator
from models.sampler import Schedule
from models.state import TakeState


def roll(generator: Generator, state: TakeState, chunks: int, cues: dict[int, list[Cue]] | None = None) -> torch.Tensor:
    out = []
    for i in range(chunks):
        out.append(generator.draw(state, (cues or {}).get(i, [])))
        generator.commit(state)
    return torch.cat(out, 2)


def next_sees(generator: Generator, state: TakeState) -> list[torch.Tensor]:
    """Return keys and values of all layers that the next chunk sees, [layers, batch, tokens, heads, d]."""
    state.cache.begin(state.index, generator.config.grid.length(state.index))
    past = state.cache.past()
    state.cache.end()
    return list(past)


def next_coordinates(state: TakeState, latents: int = 3) -> list[int]:
    """Return the coordinates of all that a next chunk of `latents` latents sees, itself included, in order."""
    s, cache = state.cache.shape, state.cache
    with torch.inference_mode():
        turn = cache.begin(state.index, latents)
        x = torch.zeros(s.batch, latents * s.tokens, s.heads, s.head_dim)
        seen = cache.extend(0, x, x, turn).coordinates
        cache.end()
    return sorted(seen)


START: dict[int, list[Cue]] = {0: [Prompt("one")]}


def odd_model(first_chunk: int | None = 1, sink: int = 1, window: int = 8) -> Model:
    """Return a model with a first chunk and a sink that are no chunks, and more steps where nothing lies behind one."""
    more = Schedule.warped((1000, 750, 500, 250), 3.0)
    return with_rollout(tiny_model(), sink=sink, window=window, first_chunk=first_chunk, first_schedule=more)
