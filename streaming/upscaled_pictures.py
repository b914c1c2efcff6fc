"""Upscale the pictures of a film, and measure whether places that stand still shimmer more than before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from models.judge.drift import steadiness
from models.judge.seams import Box
from models.upscaler import Frames, Upscaler

CELLS = 8  # places along each side of a picture that are looked at one by one
STILL = 1 - 1.0 / 255  # steadiness from which a place stands still: changes of one grey level
# an upscaler whose still places change by this factor and by this many grey levels more from frame to frame shimmers;
# bicubic and Lanczos interpolation keep both at or below what they were
FACTOR, LEVELS = 1.25, 0.1


class UpscaledPictures:
    """Upscale frames part by part, and collect the steadiness of still places before and after."""

    def __init__(self, upscaler: Upscaler) -> None:
        self.upscaler = upscaler
        self._last: tuple[Frames, Frames] | None = None  # the newest frame, before and after
        self._before: list[float] = []
        self._after: list[float] = []

    def of(self, frames: Frames) -> Frames:
        """Return the next frames [n, H, W, 3] of the film, enlarged."""
        large = self.upscaler.enlarged(frames)
        if len(frames):
            self._measure(frames, large)
        return large

    def _measure(self, frames: Frames, large: Frames) -> None:
        small = frames
        if self._last is not None:
            small, large = np.concatenate([self._last[0], frames]), np.concatenate([self._last[1], large])
        self._last = small[-1:].copy(), large[-1:].copy()
        if len(small) < 2:
            return
        for box in _boxes():
            if (before := steadiness(small, box)) >= STILL:
                self._before.append(before)
                self._after.append(steadiness(large, box))

    @property
    def before(self) -> float | None:
        """Return the mean steadiness of still places before they were enlarged; None if nothing stood still."""
        return float(np.mean(self._before)) if self._before else None

    @property
    def after(self) -> float | None:
        """Return the mean steadiness of the same places after they were enlarged; None if nothing stood still."""
        return float(np.mean(self._after)) if self._after else None

    def facts(self) -> dict[str, str | int | float | None]:
        """Return what the report of a render says of it."""
        return {
            "architecture": self.upscaler.architecture,
            "file": self.upscaler.fingerprint,
            "scale": self.upscaler.scale,
            "steadiness_before": None if self.before is None else round(self.before, 6),
            "steadiness_after": None if self.after is None else round(self.after, 6),
            "still_places": len(self._before),
        }

    def warning(self) -> str | None:
        """Return one line for a person if still places shimmer more than before; None otherwise."""
        if self.before is None or self.after is None:
            return None
        before, after = 255 * (1 - self.before), 255 * (1 - self.after)
        if after < FACTOR * before or after < before + LEVELS:
            return None
        return (
            f"the upscaled film shimmers: what stands still changes by {after:.2f} grey levels a frame, {before:.2f}"
            " before; the network draws every frame by itself, so another file may be steadier"
        )


def _boxes() -> Iterator[Box]:
    """Yield the places of a picture, left, top, right, bottom in 0…1."""
    for row, column in itertools.product(range(CELLS), repeat=2):
        yield column / CELLS, row / CELLS, (column + 1) / CELLS, (row + 1) / CELLS
