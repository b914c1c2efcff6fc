"""Compute the motion of a scene's subject: its place as a function of the time since its motion began.

Periods are 24 frames (a chunk is 12), but for walkers, which move a sixteenth of the picture every four frames, one
cell of a 16x codec at 256 pixels a latent, and leave on one side to come back on the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.pocket.world.scene import WALKERS, Scene

SUBJECT_RADIUS = {"small": 0.155, "large": 0.225}  # of the picture's width
SIDE = {"left": 0.3125, "middle": 0.5, "right": 0.6875}  # of the picture's width: three latent cells apart
PERIOD = 24  # frames
WALK = 1 / 64  # of the picture's width a frame
GROUND = 0.915  # height at which the subject's shadow lies
_ROUNDING = 0.25  # of the turn of a bounce; 0 would be a cusp


@dataclass(frozen=True)
class Pose:
    """Hold the centre of a subject in fractions of the picture, and its stretch: `squash` < 1 is lower and wider."""

    x: float
    y: float
    squash: float = 1.0


def hop(t: float) -> float:
    """Return a bounce's height 0..1 at frame `t`: 0 at the ground, 1 twelve frames later."""
    s = math.sin(math.pi * t / PERIOD)
    top = math.sqrt(1 + _ROUNDING**2) - _ROUNDING
    return (math.sqrt(s * s + _ROUNDING**2) - _ROUNDING) / top


def pose(scene: Scene, t: float) -> Pose:
    """Return the subject's pose `t` frames after its motion began."""
    wave, x = 2 * math.pi * t / PERIOD, SIDE[scene.side]
    if scene.motion in WALKERS:
        step = WALK * t * (1 if scene.motion == "right" else -1)
        return Pose((0.5 + step) % 1.0, 0.52)
    if scene.motion == "bounce":
        height = hop(t + PERIOD / 4)
        low = GROUND - 0.015 - SUBJECT_RADIUS[scene.size]
        squash = 1 - 0.13 * max(0.0, 1 - height / 0.3) ** 2
        return Pose(x, low - 0.29 * height, squash)
    if scene.motion == "circle":
        return Pose(x + 0.115 * math.sin(wave), 0.5 - 0.145 * math.cos(wave))
    return Pose(x + 0.125 * math.sin(wave), 0.52)
