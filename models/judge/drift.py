"""Measure how far a portrait's identity, colour and sharpness drift over time, with pure functions.

Slopes come with an interval from a block bootstrap, because neighbouring frames are not independent. Identity counts
only beside motion (`meters.motion`), because a frozen face keeps its likeness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.judge import meters
from models.judge.seams import WHOLE, Box, Frames, Numbers, changes, inside

Embed = Callable[[Frames], NDArray[np.float32]]  # pictures [n, H, W, 3] → unit vectors [n, d]
EDGE_SECONDS = 10.0  # of a film's beginning and end that are compared
BLOCK_SECONDS = 2.0


@dataclass(frozen=True)
class Trend:
    """Hold a least-squares slope a minute and its 95 % interval."""

    slope: float
    low: float
    high: float

    @property
    def flat(self) -> bool:
        """Return whether the interval holds 0."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Identity:
    """Hold how alike a film's face is to the reference; 1 is the same picture."""

    mean: float
    lowest: float  # mean of the worst five seconds
    change: float  # last ten seconds minus first ten
    trend: Trend


@dataclass(frozen=True)
class ColourDrift:
    """Hold the change of a region's mean colour in CIE Lab."""

    delta_e: float  # CIE 1976 distance between the first and the last ten seconds; 2.3 is just noticeable
    lightness: Trend  # L* a minute
    chroma: Trend  # √(a*² + b*²) a minute


def trend(values: Numbers, per_second: float, draws: int = 1000, seed: int = 0) -> Trend:
    """Fit a slope a minute to an evenly sampled series [n]; resample residuals in blocks of two seconds.

    Raises ValueError for a series of fewer than two blocks.
    """
    block = max(1, round(BLOCK_SECONDS * per_second))
    if len(values) < 2 * block:
        raise ValueError(
            f"{len(values) / per_second:.1f} s are too short for a slope; {2 * BLOCK_SECONDS:g} s are needed"
        )
    minutes = np.arange(len(values)) / per_second / 60
    centred = minutes - minutes.mean()
    weights = centred / (centred**2).sum()
    slope = float(weights @ values)
    residual = values - values.mean() - slope * centred
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, len(values) - block + 1, (draws, -(-len(values) // block)))
    taken = (starts[..., None] + np.arange(block)).reshape(draws, -1)[:, : len(values)]
    low, high = np.quantile(slope + residual[taken] @ weights, [0.025, 0.975])
    return Trend(slope, float(low), float(high))


def _edges(values: Numbers, per_second: float) -> tuple[Numbers, Numbers]:
    """Return means over the first and the last ten seconds, or over halves of a shorter series."""
    n = max(1, min(len(values) // 2, round(EDGE_SECONDS * per_second)))
    return values[:n].mean(0), values[-n:].mean(0)


def likeness(frames: Frames, reference: Frames, embed: Embed, fps: float = 25, per_second: float = 2) -> Numbers:
    """Return the likeness of sampled frames to the reference [1, H, W, 3]: [seconds · per_second] scalar products."""
    at = np.arange(0, len(frames), fps / per_second).astype(np.int64)
    return (embed(frames[at]) @ embed(reference)[0]).astype(np.float64)


def identity(series: Numbers, per_second: float = 2) -> Identity:
    """Summarise a series of `likeness` values."""
    window = min(len(series), round(5 * per_second))
    worst = np.convolve(series, np.full(window, 1 / window), mode="valid").min()
    first, last = _edges(series, per_second)
    return Identity(float(series.mean()), float(worst), float(last - first), trend(series, per_second))


def lab(frames: Frames, box: Box = WHOLE) -> Numbers:
    """Return the mean CIE Lab colour inside a box for every frame, [n, 3], L* in 0…100."""
    out = np.empty((len(frames), 3))
    for i, frame in enumerate(frames):
        part = inside(frame, box).astype(np.float32) / 255
        out[i] = cv2.cvtColor(part, cv2.COLOR_RGB2Lab).mean((0, 1))
    return out


def colour_drift(colours: Numbers, per_second: float = 25) -> ColourDrift:
    """Summarise a series of `lab` colours [n, 3]."""
    first, last = _edges(colours, per_second)
    chroma = np.hypot(colours[:, 1], colours[:, 2])
    distance = float(np.linalg.norm(last - first))
    return ColourDrift(distance, trend(colours[:, 0], per_second), trend(chroma, per_second))


def sharpness_drift(frames: Frames, per_second: float = 25) -> Trend:
    """Fit the trend of `meters.sharpness` relative to its mean: −0.1 loses a tenth a minute."""
    series = np.array([meters.sharpness(frame[None]) for frame in frames])
    return trend(series / max(series.mean(), 1e-9), per_second)


def steadiness(frames: Frames, box: Box) -> float:
    """Return 1 − mean |Y_t − Y_{t−1}| / 255 inside a box where nothing should move; 1 is steady.

    The measure is VBench's temporal flickering on luma.
    """
    return float(1 - np.nanmean(changes(frames, box)) / 255)
