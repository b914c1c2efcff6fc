"""The model's own rollouts, on which engines are calibrated, compared and timed: varied prompts, switches, late chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue, Prompt
from models.pocket.scene import Scene, changed_scene, random_scene
from models.state import TakeState


@dataclass(frozen=True)
class Script:
    """A short take: a scene, and the scenes that follow at the start of a chunk."""

    seed: int
    scenes: dict[int, Scene]  # by chunk
    chunks: int

    def scene_at(self, chunk: int) -> Scene:
        return self.scenes[max(c for c in self.scenes if c <= chunk)]

    def cues(self, chunk: int) -> list[Cue]:
        return [Prompt(self.scenes[chunk].caption())] if chunk in self.scenes else []


def script(seed: int, chunks: int, switches: tuple[int, ...], *, held_out: bool = False) -> Script:
    """A take of `chunks` chunks whose prompt changes at the chunks `switches`."""
    rng = random.Random(seed)
    scenes = {0: random_scene(rng, held_out=held_out)}
    for at in switches:
        scenes[at] = changed_scene(scenes[max(scenes)], rng, held_out=held_out)
    return Script(seed, scenes, chunks)


def roll(model: Model, script: Script, size: tuple[int, int] | None = None) -> Iterator[tuple[TakeState, Tensor]]:
    """Draw and commit the chunks of a script; yields the state and the clean latents [1, C, chunk, h, w]."""
    state = model.generator.new_take(script.seed, *(size or model.entry.size))
    for chunk in range(script.chunks):
        latents = model.generator.draw(state, script.cues(chunk))
        model.generator.commit(state)
        yield state, latents
