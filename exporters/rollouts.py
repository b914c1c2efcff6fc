"""Roll a model out for calibrating, comparing and timing engines: varied prompts, switches, late chunks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from models.checkpoints.assemble import Model
from models.cue import Cue, Prompt, Reference
from models.driving_signal import FRAME, LEVEL, RATE, DrivingSignal
from models.pocket.world.portrait.face import Pose, random_face
from models.pocket.world.portrait.renderer import draw_portrait
from models.pocket.world.scene import Scene, changed_scene, random_scene
from models.state import TakeState
from models.time_grid import TimeGrid


@dataclass(frozen=True)
class Script:
    """Describe a short take: a scene, and the scenes that follow at the start of a chunk."""

    seed: int
    scenes: dict[int, Scene]  # by chunk
    chunks: int

    def scene_at(self, chunk: int) -> Scene:
        return self.scenes[max(c for c in self.scenes if c <= chunk)]

    def cues(self, chunk: int) -> list[Cue]:
        return [Prompt(self.scenes[chunk].caption())] if chunk in self.scenes else []


def script(seed: int, chunks: int, switches: tuple[int, ...], *, held_out: bool = False) -> Script:
    """Return a take of `chunks` chunks whose prompt changes at the chunks `switches`."""
    rng = random.Random(seed)
    scenes = {0: random_scene(rng, held_out=held_out)}
    for at in switches:
        scenes[at] = changed_scene(scenes[max(scenes)], rng, held_out=held_out)
    return Script(seed, scenes, chunks)


def roll(model: Model, script: Script, size: tuple[int, int] | None = None) -> Iterator[tuple[TakeState, Tensor]]:
    """Draw and commit the chunks of a script; yield the state and the clean latents [1, C, chunk, h, w].

    A model that is driven gets a portrait of its world and something like speech; prompts mean nothing to it.
    """
    width, height = size or model.entry.size
    state = model.generator.new_take(script.seed, width, height)
    speaks = model.entry.driving_features is not None
    signal = syllables(script, model.entry.rollout.grid) if speaks else None
    for chunk in range(script.chunks):
        cues, drive = script.cues(chunk), None
        if signal is not None:
            cues += [_portrait(script.seed, width, height)] if chunk == 0 else []
            drawn = model.entry.rollout.latents_drawn(state.index)
            drive = torch.from_numpy(signal.latents(state.index, drawn))[None].to(model.generator.device)
        latents = model.generator.draw(state, cues, drive)
        model.generator.commit(state)
        yield state, latents


def _portrait(seed: int, width: int, height: int) -> Reference:
    face = draw_portrait(random_face(random.Random(seed)), np.array([Pose()], np.float32))[0]
    return Reference(cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA).tobytes(), width, height)


def syllables(script: Script, grid: TimeGrid) -> DrivingSignal:
    """Return syllables of a buzz, as loud as speech, so that no speech synthesis is needed to export an engine."""
    t = np.arange(grid.frames * (script.chunks + 1) * FRAME) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * n * t) / n for n in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 2.3 * t + script.seed) + 0.4 * np.sin(2 * np.pi * 0.31 * t), 0, 1)
    sound = tone * syllables
    signal = DrivingSignal()
    signal.hear((sound * 10 ** (LEVEL / 20) / np.sqrt(np.square(sound).mean())).astype(np.float32).clip(-1, 1))
    return signal
