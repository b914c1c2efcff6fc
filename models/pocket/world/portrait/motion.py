"""Move a face of the portrait world: smooth, seeded poses at 25 frames a second.

Every part moves and none jumps: the head wanders slowly and nods with stressed syllables, the eyes fixate and leap,
lids close for a few frames every few seconds, shoulders breathe. The mouth's motion is derived from speech.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.pocket.world.portrait.face import Pose

Numbers = NDArray[np.float32]
FPS = 25
BLINK = np.array([0.45, 1.0, 1.0, 0.7, 0.35, 0.12])  # lids fall faster than they rise
BLINK_EVERY = (1.6, 5.5)  # seconds; people blink 12 to 20 times a minute
REST = (0.5, 2.6)  # seconds that the eyes stay on one point


def living(frames: int, rng: np.random.Generator, mouth: Numbers | None = None) -> Numbers:
    """Return poses [frames, 11] float32 (columns of `Pose`) of a face; `mouth` [frames, 2] is openness and width, 0…1.

    Without `mouth` the face listens: lips closed, all other motion unchanged.
    """
    columns = {name: np.zeros(frames) for name in Pose._fields}
    spoken = np.tile([0.0, 0.5], (frames, 1)) if mouth is None else np.asarray(mouth, np.float64)
    columns["mouth"], columns["width"] = spoken[:, 0], spoken[:, 1]
    stress = stressed(spoken[:, 0])
    columns["turn"] = np.tanh(0.45 * _wander(frames, 1.1, rng) + 0.12 * stress * rng.choice([-1, 1]))
    columns["tilt"] = np.tanh(0.4 * _wander(frames, 1.3, rng) + 0.1 * stress * rng.choice([-1, 1]))
    columns["shift_x"] = np.tanh(0.35 * _wander(frames, 1.6, rng))
    columns["shift_y"] = np.tanh(0.3 * _wander(frames, 1.2, rng) + 0.75 * stress)
    columns["smile"] = np.clip(rng.uniform(0.1, 0.6) + 0.22 * _wander(frames, 1.5, rng), 0, 1)
    columns["breath"] = _breath(frames, rng)
    columns["blink"] = _blinks(frames, rng)
    columns["gaze_x"], columns["gaze_y"] = _gaze(frames, rng)
    columns["gaze_x"] = np.clip(columns["gaze_x"] - 0.45 * columns["turn"], -1, 1)  # eyes stay on the viewer
    return np.stack([columns[name] for name in Pose._fields], 1).astype(np.float32)


def stressed(openness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each frame belongs to a stressed syllable, 0…1: open for longer than around it, smoothed."""
    slow, fast = _blurred(openness, 12.0), _blurred(openness, 2.5)
    return np.clip(3 * (fast - slow), 0, 1)


def _blurred(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), mode="valid")


def _wander(frames: int, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a smooth Gaussian process of unit variance whose correlation vanishes within a few times `seconds`."""
    sigma = seconds * FPS / 2
    reach = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(rng.standard_normal(frames + 2 * reach), kernel / np.sqrt((kernel**2).sum()), mode="valid")


def _breath(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    rate = 0.26 * (1 + 0.15 * _wander(frames, 4.0, rng))  # breaths a second
    return np.sin(2 * math.pi * (rng.random() + np.cumsum(rate) / FPS))


def _blinks(frames: int, rng: np.random.Generator) -> NDArray[np.float64]:
    lids, at = np.zeros(frames + len(BLINK)), int(rng.uniform(0, BLINK_EVERY[1]) * FPS)
    while at < frames:
        lids[at : at + len(BLINK)] = BLINK
        at += len(BLINK) + int(rng.uniform(*BLINK_EVERY) * FPS)
    return lids[:frames]


def _gaze(frames: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return gaze fixations, three in five on the viewer, with leaps between them that take two frames."""
    points, at = np.zeros((frames, 2)), 0
    while at < frames:
        until = at + int(rng.uniform(*REST) * FPS)
        points[at:until] = (0, 0) if rng.random() < 0.6 else rng.uniform([-0.9, -0.6], [0.9, 0.7])
        at = until
    before = np.concatenate([points[:1], points[:-1]])
    x, y = ((points + before) / 2).T
    return x, y
