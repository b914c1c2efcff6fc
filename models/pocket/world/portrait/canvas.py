"""Draw antialiased for the portrait world: polygons and lines in picture units on a canvas of twice the size."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.portrait.face import Colour

Points = NDArray[np.float64]  # [n, 2] x, y
OVERSIZE = 2  # canvas pixels per pixel of the picture; together with LINE_AA as clean as 4 without
_SHIFT = 4  # cv2 draws at 1/16 pixel with shift=4


class Canvas:
    """Draw on a picture [2 size, 2 size, 3] uint8 RGB; points are given in pixels of the final picture."""

    def __init__(self, picture: NDArray[np.uint8]) -> None:
        self.picture = picture

    def fill(self, points: Points, colour: Colour) -> None:
        cv2.fillPoly(self.picture, [_fixed(points)], colour, cv2.LINE_AA, _SHIFT)

    def line(self, points: Points, colour: Colour, width: float, *, closed: bool = False) -> None:
        thickness = max(1, round(width * OVERSIZE))
        cv2.polylines(self.picture, [_fixed(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)


def _fixed(points: Points) -> NDArray[np.int32]:
    # a pixel's centre has whole coordinates in OpenCV, hence the half
    return np.round((points * OVERSIZE - 0.5) * (1 << _SHIFT)).astype(np.int32)


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """Blend a share 0…1 of `other` into `colour`."""
    r, g, b = (round(c + (o - c) * share) for c, o in zip(colour, other, strict=True))
    return r, g, b


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, points: int = 20) -> Points:
    """Return points of an ellipse around x, y from angle `start` to `stop` in radians, clockwise from the right."""
    angle = np.linspace(start, stop, points)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


@lru_cache(maxsize=8)
def _circle(points: int) -> Points:
    return arc(0, 0, 1, 1, 0, 2 * math.pi * (1 - 1 / points), points)


def disc(x: float, y: float, rx: float, ry: float) -> Points:
    """Return an ellipse around x, y as a polygon [28, 2]."""
    return _circle(28) * np.array([rx, ry]) + np.array([x, y])


@lru_cache(maxsize=2)
def _catmull_rom(steps: int) -> NDArray[np.float64]:
    t = np.arange(steps)[:, None] / steps
    weights = [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]
    return 0.5 * np.concatenate(weights, 1)  # [steps, 4]


def smooth(points: Points, *, closed: bool = True, steps: int = 6) -> Points:
    """Interpolate points by a Catmull–Rom curve: [steps · n, 2], or [steps · (n − 1) + 1, 2] if it is open."""
    around = np.concatenate([points[-1:], points, points[:2]] if closed else [points[:1], points, points[-1:]])
    spans = np.stack([around[i : len(around) - 3 + i] for i in range(4)], 1)  # [spans, 4, 2]
    curve = (_catmull_rom(steps) @ spans).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, points[-1:]])
