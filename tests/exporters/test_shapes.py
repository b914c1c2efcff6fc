"""The (queries, past) pairs listed for an engine are those of real takes: none is missing, and none never occurs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from conftest import tiny_avatar, tiny_model, with_rollout

from exporters.capture import TorchRunner
from exporters.engine_modules import EngineTransformer
from exporters.shapes import occurring
from models.cache_shape import ReferenceRule
from models.checkpoints.assemble import Model
from models.cue import Cue, Cut, Parameter, Prompt, Reference
from models.generator import Generator
from models.sampler import Schedule
from models.transformer import CausalWanTransformer

SIZE = (32, 32)


class Watching(TorchRunner):
    """Keep the sizes of every pass, and compute only what is written: sizes do not depend on numbers."""

    def __init__(self, transformer: CausalWanTransformer) -> None:
        super().__init__(transformer)
        self.seen: set[tuple[int, int]] = set()

    def run(self, inputs: dict[str, torch.Tensor], outputs: dict[str, torch.Tensor]) -> None:
        self.seen.add((len(inputs["cos"]), inputs["past_keys"].shape[1]))
        for value in outputs.values():
            value.zero_()


def of(chunk: int, window: int, sink: int, first_chunk: int | None = None, knot: int = 0) -> Model:
    """Return a model of one step with this layout."""
    sizes = {"chunk": chunk, "window": window, "sink": sink, "first_chunk": first_chunk, "knot": knot}
    return with_rollout(tiny_model(), **sizes, schedule=Schedule.warped((1000,), 3.0))


def portrayed() -> Model:
    """Return a model that stays true to an image and that nothing drives."""
    model = tiny_model(window=9)
    generator = tiny_avatar().generator
    config = replace(model.entry.rollout, reference=ReferenceRule())
    transformer, encode = model.generator.transformer, lambda prompts: torch.zeros(len(prompts), 6, 16)
    made = Generator(config, transformer, encode, generator.codec)
    return replace(model, generator=made)


def pairs_of_takes(model: Model, takes: int, chunks: int) -> set[tuple[int, int]]:
    """Draw takes with cues at random borders; return the sizes of all their passes."""
    transformer, config = model.generator.transformer, model.generator.config
    assert isinstance(transformer, CausalWanTransformer)
    runner, rng = Watching(transformer), random.Random(0)
    watched = model.generator.run_by(EngineTransformer(transformer, runner))
    for seed in range(takes):
        state, often = watched.new_take(seed, *SIZE), rng.choice((0.1, 0.4))
        for i in range(chunks):
            cues: list[Cue] = [Prompt(f"{i % 5}")] if i == 0 or rng.random() < often else []
            if cues:
                cues.insert(0, Parameter("on_switch", rng.choice(("recache", "recache", "flush", "none", "clear"))))
                cues.insert(0, Parameter("sink_on_switch", rng.choice(("keep", "reanchor"))))
            if config.reference and (i == 0 or rng.random() < 0.2):
                cues.append(Reference(bytes(3072), *SIZE))
            n = config.latents_drawn(state.index)
            drive = torch.zeros(1, n, 7, 64) if transformer.driving_attention is not None else None
            watched.draw(state, [*([Cut()] if i and rng.random() < 0.05 else []), *cues], drive)
            if rng.random() < 0.7:
                watched.commit(state)
    return runner.seen


@pytest.mark.parametrize(
    "model",
    [
        of(3, 12, 3),
        of(3, 12, 0),
        of(3, 12, 3, knot=2),
        of(2, 6, 1),
        of(1, 5, 1),
        of(3, 9, 3, first_chunk=1),
        of(2, 7, 4, first_chunk=3, knot=1),
        of(2, 5, 3, first_chunk=5),
        tiny_avatar(),
        portrayed(),
    ],
    ids=[
        "sink",
        "no sink",
        "knot",
        "sink of 1",
        "frame-wise",
        "first 1",
        "long sink",
        "first fills",
        "avatar",
        "portrait",
    ],
)
def test_what_is_listed_is_what_takes_need(model: Model) -> None:
    assert sorted(pairs_of_takes(model, takes=80, chunks=14)) == occurring(model, SIZE)
