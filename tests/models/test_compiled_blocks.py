"""Compiled blocks predict what they do uncompiled, and are compiled once: chunks, recaches and cuts share them."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import tiny_model
from torch._dynamo.utils import counters

from models.cue import Cue, Cut, Parameter, Prompt, Recall
from models.generator import Generator
from models.noise import Noise
from models.transformer import CausalWanTransformer


def pair() -> tuple[Generator, Generator]:
    """Return a tiny model that is compiled, and the same one that is not."""
    model = tiny_model(knot=1)
    eager = model.generator
    network = copy.deepcopy(eager.transformer)
    assert isinstance(network, CausalWanTransformer)
    network.compile_blocks()
    return eager.run_by(network), eager


def cues(chunk: int) -> list[Cue]:
    """Return what happens at a chunk: switches of every way, cuts, recalls and blends, again and again."""
    ways: dict[int, list[Cue]] = {
        0: [Prompt("one")],
        5: [Prompt("two")],
        9: [Prompt("three", blend=6)],
        13: [Cut(), Prompt("four")],
        16: [Parameter("on_switch", "flush"), Prompt("five")],
        19: [Parameter("on_switch", "recache"), Prompt("two")],
        22: [Recall(0)],
    }
    return ways.get(chunk % 25, [])


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


def rolled(chunks: int) -> tuple[float, int, int]:
    """Return how far both roll-outs are apart, the graphs after the first chunk and those after the last."""
    torch._dynamo.reset()
    counters.clear()
    compiled, eager = pair()
    states = [generator.new_take(3, 32, 32, Noise.PHILOX) for generator in (compiled, eager)]
    apart, after_first = 0.0, 0
    for chunk in range(chunks):
        drawn = []
        for generator, state in zip((compiled, eager), states, strict=True):
            drawn.append(generator.draw(state, cues(chunk)))
            generator.commit(state)
        apart = max(apart, float((drawn[0] - drawn[1]).abs().max()))
        after_first = after_first or graphs()
    return apart, after_first, graphs()


@pytest.mark.long
def test_nothing_is_compiled_anew_in_200_chunks_with_switches_cuts_and_recalls() -> None:
    apart, after_first, after_last = rolled(200)
    assert after_last == after_first > 0
    assert apart < 1e-4
