"""Measure frames, and what the judge reads from them, with pure functions.

A window is twelve frames that show one chunk; a reading maps every attribute to probabilities [windows, values].
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.judge.classifier import ATTRIBUTES, WINDOW
from models.pocket.world.scene import UNSAID, WORDING, Scene

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
Reading = dict[str, Tensor]
Numbers = NDArray[np.float64]


def window(frames: Frames) -> Frames:
    """Return the frames of one chunk [n, H, W, 3] as a window [12, H, W, 3].

    The first frame of a shorter chunk, such as a take's first, is held; of a longer chunk the last frames are taken.
    """
    return np.concatenate([frames[:1].repeat(max(0, WINDOW - len(frames)), 0), frames[-WINDOW:]])


def adherence(reading: Reading, scenes: Sequence[Scene], attributes: Sequence[str] = tuple(WORDING)) -> Numbers:
    """Return 1 where the judge reads what a window's scene says, 0 where not, nan where nothing is said.

    The result is [windows, attributes].
    """
    out = np.full((len(scenes), len(attributes)), np.nan)
    for column, name in enumerate(attributes):
        read = reading[name].argmax(-1)
        for row, scene in enumerate(scenes):
            if scene.says(name):
                out[row, column] = float(ATTRIBUTES[name][int(read[row])] == getattr(scene, name))
    return out


def changed(before: Scene, after: Scene) -> list[str]:
    """Return the attributes that the second caption says and that the first says otherwise or not at all."""
    return [n for n in WORDING if after.says(n) and (getattr(before, n) != getattr(after, n) or not before.says(n))]


def chunks_until_shown(reading: Reading, before: Scene, after: Scene) -> float:
    """Count windows until every changed attribute is read at once: 1 if the new prompt's first window shows them all.

    Returns nan if none does. `reading` begins with the window in which the switch landed.
    """
    names = changed(before, after)
    shown = adherence(reading, [after] * len(next(iter(reading.values()))), names).min(1)
    at = np.flatnonzero(shown == 1)
    return float(at[0] + 1) if len(at) else float("nan")


def continuity(reading: Reading, switch: int, before: Scene, after: Scene) -> float:
    """Return the share of the facts that a switch leaves alone, said and unsaid, that are read as before it.

    Compared are the window before `switch` and the mean reading of those after the first of the new prompt.
    """
    kept = [n for n in WORDING if before.says(n) and after.says(n) and n not in changed(before, after)]
    same = []
    for name in [*kept, *UNSAID]:
        old = reading[name][max(0, switch - 2) : switch].mean(0).argmax()
        new = reading[name][switch + 1 :].mean(0).argmax()
        same.append(float(old == new))
    return float(np.mean(same))


def diversity(readings: Sequence[Reading]) -> float:
    """Return the share of pairs of takes of one prompt that differ in an unsaid fact; 0: every seed shows one world."""
    facts = [tuple(int(r[n].mean(0).argmax()) for n in UNSAID) for r in readings]
    pairs = [(a, b) for i, a in enumerate(facts) for b in facts[i + 1 :]]
    return float(np.mean([a != b for a, b in pairs])) if pairs else float("nan")


def sharpness(frames: Frames) -> float:
    """Return the mean variance of the Laplacian of the grey pictures."""
    grey = [cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames]
    return float(np.mean([cv2.Laplacian(g, cv2.CV_64F).var() for g in grey]))


def colour(frames: Frames) -> float:
    """Return the mean distance of a pixel from grey, in grey levels."""
    f = frames.astype(np.float32)
    return float((f.max(-1) - f.min(-1)).mean())


def motion(frames: Frames) -> float:
    """Return the mean change of a pixel from frame to frame, in grey levels; 0 for a single frame."""
    if len(frames) < 2:
        return 0.0
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean())


def slope(values: Sequence[float]) -> float:
    """Return the least-squares slope of a series, per hundred steps; nan values are left out."""
    y = np.asarray(values, float)
    x = np.flatnonzero(~np.isnan(y))
    return float(100 * np.polyfit(x, y[x], 1)[0]) if len(x) > 1 else float("nan")


def interval(by_prompt: Sequence[float], draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean over prompts and its 95 % bootstrap interval (low, high); nan values are left out."""
    values = np.asarray([v for v in by_prompt if not np.isnan(v)], float)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    means = np.random.default_rng(seed).choice(values, (draws, len(values))).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)
