"""Draw antialiased shapes on float canvases, in coordinates that are fractions of the picture.

A canvas is a float32 array [size, size, 3] of RGB values 0..255. Points are (x, y) with (0, 0) at the top left and
(1, 1) at the bottom right, so that a drawing keeps its proportions at every size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Canvas = NDArray[np.float32]
Mask = NDArray[np.float32]  # 0..1
Points = Sequence[tuple[float, float]]
Colour = tuple[float, float, float]

FINEST = 512  # shapes are drawn at this width and averaged down, so that they are as thick at every size
_SHIFT = 4  # OpenCV draws at 1/16 pixel


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return `a` with `share` (0..1) of it replaced by `b`."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def times(a: Colour, factors: Colour | float) -> Colour:
    """Return `a` multiplied by one factor or one per channel, clipped to 255."""
    r, g, b = factors if isinstance(factors, tuple) else (factors, factors, factors)
    return (min(255.0, a[0] * r), min(255.0, a[1] * g), min(255.0, a[2] * b))


def ellipse(x: float, y: float, rx: float, ry: float | None = None, corners: int = 40) -> Points:
    """Return an ellipse's outline; a circle without `ry`."""
    ry = rx if ry is None else ry
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def box(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return an upright rectangle's corners."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def ridge(heights: Iterable[float], bottom: float = 1.02) -> Points:
    """Return the area below a line of heights spread evenly from the left to the right edge."""
    ys = list(heights)
    return [*((i / (len(ys) - 1), y) for i, y in enumerate(ys)), (1.0, bottom), (0.0, bottom)]


def coverage(
    shapes: Sequence[Points], scale: float, shape: tuple[int, int], offset: tuple[float, float], fine: int = 2
) -> Mask:
    """Rasterise polygons: the share of each pixel that they cover.

    OpenCV draws polygons half a pixel too large; `fine` times finer and averaged, that is lost.

    Args:
        shapes: polygons in units of `scale` pixels; overlaps count once.
        shape: rows and columns of the result.
        offset: pixel (x, y) of the whole drawing at the result's top left corner.
    """
    mask = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    for points in shapes:
        at = (np.asarray(points, np.float64) * scale - np.asarray(offset)) * fine - 0.5
        cv2.fillPoly(mask, [np.round(at * (1 << _SHIFT)).astype(np.int32)], 255, cv2.LINE_AA, _SHIFT)
    if fine > 1:
        mask = cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return mask.astype(np.float32) / np.float32(255)


def fill(
    canvas: Canvas,
    shapes: Points | Sequence[Points],
    top: Colour,
    bottom: Colour | None = None,
    *,
    alpha: float = 1.0,
    soft: float = 0.0,
) -> None:
    """Paint one polygon or several as one area.

    Args:
        top: colour at the area's top; `bottom` at its bottom, with a linear gradient between them.
        alpha: opacity 0..1.
        soft: standard deviation of a blur of the area's edge, as a fraction of the picture.
    """
    size = canvas.shape[0]
    fine = max(1, round(FINEST / size))
    one = isinstance(shapes[0][0], int | float)
    several = [cast(Points, shapes)] if one else cast("Sequence[Points]", shapes)
    corners = np.concatenate([np.asarray(p, np.float64) for p in several]) * size
    margin = 2 + 3 * soft * size
    x0, y0 = (max(0, math.floor(v - margin)) for v in corners.min(0))
    x1, y1 = (min(size, math.ceil(v + margin)) for v in corners.max(0))
    if x0 >= x1 or y0 >= y1:
        return
    if soft:  # a blur must see what lies outside the picture
        pad = math.ceil(3 * soft * size)
        mask = coverage(several, size, (y1 - y0 + 2 * pad, x1 - x0 + 2 * pad), (x0 - pad, y0 - pad), fine)
        mask = cv2.GaussianBlur(mask, (0, 0), soft * size)[pad : pad + y1 - y0, pad : pad + x1 - x0]
    else:
        mask = coverage(several, size, (y1 - y0, x1 - x0), (x0, y0), fine)
    share = mask[..., None] * np.float32(alpha)
    colour = np.asarray(top, np.float32)
    if bottom is not None:
        low, high = corners[:, 1].min(), corners[:, 1].max()
        ramp = np.clip((np.arange(y0, y1) + 0.5 - low) / max(1e-6, high - low), 0, 1).astype(np.float32)
        colour = (colour + ramp[:, None] * (np.asarray(bottom, np.float32) - colour))[:, None]
    part = canvas[y0:y1, x0:x1]
    part += share * (colour - part)


def glow(canvas: Canvas, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
    """Lighten the canvas towards `colour` around a point, falling off like a Gaussian of that radius."""
    size = canvas.shape[0]
    across = ((np.arange(size, dtype=np.float32) + 0.5) / size - x) / radius
    down = ((np.arange(size, dtype=np.float32) + 0.5) / size - y) / radius
    share = np.float32(strength) * np.exp(-down * down)[:, None, None] * np.exp(-across * across)[None, :, None]
    canvas += share * (np.asarray(colour, np.float32) - canvas)
