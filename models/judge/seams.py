"""Measure whether the picture jumps or slows down with the period of the chunks, with pure functions on frames.

The change from frame to frame is compared with its surroundings and folded at the chunk period. Two controls fold it at
the neighbouring periods, and a null shuffles time within chunks; a seam has to exceed all three. Measure frames before
any video encoder, whose own periods look like seams. Where the seam is, `models.time_grid` knows: with chunks of three
latents frame 9 is the first of the second chunk, and phase 9 of period 12 is the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.time_grid import FRAMES_PER_LATENT, TimeGrid

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
Numbers = NDArray[np.float64]
Box = Sequence[float]  # left, top, right, bottom in 0…1 of the picture

REACH = 6  # frames on each side that a frame is compared with
_STILL = 1e-3  # grey levels; a change below this is none
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class SeamRatio:
    """Hold the peak phase ratio at the chunk period: 1 is even; Knot Forcing's published clips measured 1.72."""

    ratio: float  # largest of the profile
    phase: int  # where, in frames after a multiple of the period
    profile: Numbers  # [period] median ratio of every phase
    controls: tuple[float, float]  # largest at period − 1 and period + 1
    null: float  # 95th percentile with time shuffled inside every period

    @property
    def seam(self) -> bool:
        """Return whether the ratio exceeds the null, and both controls by more than 10 %."""
        return self.ratio > self.null and self.ratio > 1.1 * max(self.controls)

    def excess(self, phase: int) -> float:
        """Return the ratio at a phase against the mean of the phases at the same place in a latent, nan without any."""
        period = len(self.profile)
        others = [p for p in range(phase % FRAMES_PER_LATENT, period, FRAMES_PER_LATENT) if p != phase % period]
        return float(self.profile[phase % period] / self.profile[others].mean()) if others else float("nan")


@dataclass(frozen=True)
class KnotEnergy:
    """Compare motion of the latents that begin a chunk with the others: below 1 they slow, above 1 they jump.

    The ratio is nan where a chunk is one latent.
    """

    ratio: float
    spread: float  # largest minus smallest median energy over the latents of a chunk
    controls: tuple[float, float]  # the same spread at chunk + 1 and chunk + 2 latents


def inside(frame: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    """Return the part of a picture [H, W, 3] inside a box, at least one pixel."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (round(min(max(v, 0.0), 1.0) * s) for v, s in zip(box, (width, height) * 2, strict=True))
    left, top = min(left, width - 1), min(top, height - 1)
    return np.ascontiguousarray(frame[top : max(top + 1, bottom), left : max(left + 1, right)])


def _luma(frame: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
    return cv2.cvtColor(inside(frame, box), cv2.COLOR_RGB2GRAY).astype(np.float32)


def changes(frames: Frames, box: Box = WHOLE) -> Numbers:
    """Return mean |Y_t − Y_{t−1}| inside a box in grey levels, [n]; nan for the first frame."""
    out, before = np.full(len(frames), np.nan), None
    for t, frame in enumerate(frames):
        now = _luma(frame, box)
        if before is not None:
            out[t] = np.abs(now - before).mean()
        before = now
    return out


def jerks(frames: Frames, box: Box = WHOLE) -> Numbers:
    """Return mean |Y_{t+1} − 2 Y_t + Y_{t−1}| inside a box in grey levels, [n]; nan for the first and the last frame.

    It detects breaks of velocity that leave the size of the change alone.
    """
    out = np.full(len(frames), np.nan)
    lumas = [_luma(frame, box) for frame in frames[:2]]
    for t in range(1, len(frames) - 1):
        lumas.append(_luma(frames[t + 1], box))
        out[t] = np.abs(lumas[2] - 2 * lumas[1] + lumas[0]).mean()
        lumas.pop(0)
    return out


def local_ratio(series: Numbers) -> Numbers:
    """Divide every value by the median of the six before and the six after it, [n]; nan near the ends."""
    around = np.lib.stride_tricks.sliding_window_view(series, 2 * REACH + 1)
    median = np.median(np.delete(around, REACH, axis=1), axis=1)
    out = np.full(len(series), np.nan)
    out[REACH : len(series) - REACH] = (series[REACH : len(series) - REACH] + _STILL) / (median + _STILL)
    return out


def phase_profile(ratio: Numbers, period: int) -> Numbers:
    """Return the median of the values at t ≡ p (mod period) for every phase p, [period]; nan values are ignored."""
    phases = np.arange(len(ratio)) % period
    return np.array([np.median(ratio[(phases == p) & ~np.isnan(ratio)]) for p in range(period)])


def seam_ratio(series: Numbers, period: int = 12, draws: int = 200, seed: int = 0) -> SeamRatio:
    """Compute the seam ratio (SBR) of `changes` or `jerks` [n], where frame 0 is a take's first.

    Raises ValueError for fewer than four periods, too few for medians.
    """
    if len(series) < 4 * period + 2 * REACH:
        raise ValueError(f"{len(series)} frames are too few for period {period}; {4 * period + 2 * REACH} are needed")
    profile = phase_profile(local_ratio(series), period)
    controls = [float(phase_profile(local_ratio(series), p).max()) for p in (period - 1, period + 1)]
    rng, blocks = np.random.default_rng(seed), np.arange(len(series)) // period
    peaks = []
    for _ in range(draws):
        known = ~np.isnan(series)
        # stable by block, random inside it
        shuffled = series.copy()
        shuffled[known] = series[known][np.lexsort((rng.random(known.sum()), blocks[known]))]
        peaks.append(phase_profile(local_ratio(shuffled), period).max())
    null = float(np.quantile(peaks, 0.95))
    return SeamRatio(float(profile.max()), int(profile.argmax()), profile, (controls[0], controls[1]), null)


def latent_energy(series: Numbers) -> Numbers:
    """Return the mean local ratio over the four frames of every latent, [⌈n / 4⌉]; nan where a ratio is not known."""
    ratio = local_ratio(series)
    latents = (len(series) - 1) // FRAMES_PER_LATENT
    energy = ratio[1 : 1 + FRAMES_PER_LATENT * latents].reshape(latents, FRAMES_PER_LATENT).mean(1)
    return np.concatenate([[np.nan], energy])


def knot_energy(series: Numbers, grid: TimeGrid) -> KnotEnergy:
    """Compute the knot energy ratio (KLR) of `changes` [n]; the first latent of a chunk takes the knot.

    Raises ValueError for fewer than eight chunks.
    """
    energy, chunk = latent_energy(series), grid.chunk
    if len(energy) < 8 * chunk:
        raise ValueError(f"{len(series)} frames are too few; {8 * grid.frames} are needed")

    def spread(period: int) -> float:
        return float(np.ptp(phase_profile(energy, period)))

    classes = np.roll(phase_profile(energy, chunk), -grid.start(1))  # from the first latent of a chunk on
    return KnotEnergy(
        float(classes[0] / classes[1:].mean()) if chunk > 1 else float("nan"),
        spread(chunk),
        (spread(chunk + 1), spread(chunk + 2)),
    )
