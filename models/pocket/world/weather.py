"""Draw what moves behind a subject: rain, snow, fog and the sea's waves.

Rain and snow are two jittered layers each, tiles of the picture's size that wrap around; a layer moves a simple
fraction of a 16x codec's cell (1/16 of the picture) every four frames.
"""

from __future__ import annotations

import math
import random
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.motion import PERIOD
from models.pocket.world.paint import Colour, Points, ellipse, fill, mix, times
from models.pocket.world.sky import HORIZON, TINT, Air

Picture = NDArray[np.uint8]
Veil = tuple[Picture, Picture]  # 255 × (1 − alpha) and colour × alpha, both [.., .., 3]

# layer -> cells (across, down) moved every four frames, particles a side, size as a fraction of the picture
SNOW = (((0.0, 0.25), 6, 0.0105), ((0.0, 0.5), 4, 0.0175))
RAIN = (((-0.125, 0.5), 5, 0.0105), ((-0.25, 1.0), 4, 0.0155))
_CELL, _LATENT = 1 / 16, 4


def _tile(colour: Colour, shapes: list[Points], alpha: float, size: int, soft: float) -> Veil:
    """Draw shapes on a tile that wraps around, and repeat it twice in both directions."""
    mask = np.zeros((size, size, 3), np.float32)
    for shape in shapes:
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                fill(mask, [(x + dx, y + dy) for x, y in shape], (1, 1, 1), soft=soft)
    mask *= np.float32(alpha)
    keep = np.round(255 * (1 - mask)).astype(np.uint8)
    paint = np.round(mask * np.asarray(colour, np.float32)).astype(np.uint8)
    return np.tile(keep, (2, 2, 1)), np.tile(paint, (2, 2, 1))


@lru_cache(maxsize=16)
def _layers(weather: str, light: str, size: int) -> tuple[Veil, ...]:
    rng, out = random.Random(7), []
    for number, ((across, down), side, scale) in enumerate(SNOW if weather == "snow" else RAIN):
        shapes: list[Points] = []
        for row in range(side):
            for column in range(side):
                x = (column + 0.5 * (row % 2) + rng.uniform(0.15, 0.85)) / side
                y = (row + rng.uniform(0.15, 0.85)) / side
                if weather == "snow":
                    shapes.append(ellipse(x, y, scale * rng.uniform(0.8, 1.15), corners=16))
                else:
                    length, lean = 7 * scale, across / down
                    shapes.append(
                        [
                            (x, y),
                            (x + scale, y),
                            (x + scale + lean * length, y + length),
                            (x + lean * length, y + length),
                        ]
                    )
        colour: Colour = (255, 255, 255) if weather == "snow" else (206, 226, 250)
        if light != "day":
            colour = mix(colour, (196, 210, 255), 0.35)
        alpha = (0.85, 0.95)[number] if weather == "snow" else (0.5, 0.68)[number]
        out.append(_tile(colour, shapes, alpha, size, 0.0025 if weather == "snow" else 0.0012))
    return tuple(out)


def _window(tile: Picture, left: float, top: float, size: int) -> Picture:
    """Cut a picture out of a doubled tile, between pixels where need be."""
    x, y = math.floor(left), math.floor(top)
    part = tile[y : y + size, x : x + size]
    fx, fy = left - x, top - y
    if fx > 1e-6:
        part = cv2.addWeighted(part, 1 - fx, tile[y : y + size, x + 1 : x + 1 + size], fx, 0)
    if fy > 1e-6:
        under = _window(tile, left, y + 1, size) if fx > 1e-6 else tile[y + 1 : y + 1 + size, x : x + size]
        part = cv2.addWeighted(part, 1 - fy, under, fy, 0)
    return part


def lay(picture: Picture, veil: Veil) -> None:
    """Blend a veil over a picture of its size, in place."""
    cv2.multiply(picture, veil[0], picture, 1 / 255)
    cv2.add(picture, veil[1], picture)


def fall(picture: Picture, weather: str, light: str, t: int) -> None:
    """Draw rain or snow at frame `t`, in place."""
    size = picture.shape[0]
    speeds = SNOW if weather == "snow" else RAIN
    for ((across, down), _, _), (keep, paint) in zip(speeds, _layers(weather, light, size), strict=True):
        left = (-across * t / _LATENT * _CELL * size) % size
        top = (-down * t / _LATENT * _CELL * size) % size
        lay(picture, (_window(keep, left, top, size), _window(paint, left, top, size)))


@lru_cache(maxsize=3 * PERIOD)
def _mist(light: str, phase: int, size: int) -> Veil:
    rows = (np.arange(size, dtype=np.float64) + 0.5) / size
    swing = 0.02 * math.sin(2 * math.pi * phase / PERIOD)
    veil = np.full(size, 0.2)
    for centre, way, width, depth in ((0.34, 1, 0.07, 0.34), (0.6, -1, 0.085, 0.54), (0.83, 1, 0.075, 0.42)):
        veil += depth * np.exp(-(((rows - centre - way * swing) / width) ** 2))
    share = np.minimum(veil, 0.72)[:, None, None]
    white = np.asarray(mix((232, 236, 242), times((232, 232, 232), TINT[light]), 0.35), np.float64)
    keep = np.broadcast_to(np.round(255 * (1 - share)), (size, size, 3)).astype(np.uint8)
    return keep, np.broadcast_to(np.round(white * share), (size, size, 3)).astype(np.uint8)


def mist(picture: Picture, light: str, t: int) -> None:
    """Draw banks of fog that rise and sink, in place."""
    lay(picture, _mist(light, t % PERIOD, picture.shape[0]))


_CRESTS = tuple((HORIZON + 0.055 + 0.062 * row, 0.04 + 0.006 * row, 0.0042 + 0.0011 * row) for row in range(5))


def waves(picture: Picture, air: Air, t: int) -> None:
    """Draw crests on the sea that rock from side to side, in place; a row moves against its neighbours."""
    size = picture.shape[0]
    rock = math.sin(2 * math.pi * t / PERIOD)
    for row, (y, half, thick) in enumerate(_CRESTS):
        less = min(0.5 / size, 0.45 * thick)  # OpenCV draws polygons half a pixel too large
        ink = mix(air.lit((120, 190, 236)), (255, 255, 255), 0.3 if air.light == "night" else 0.55)
        shift = 0.03 * rock * (1 if row % 2 == 0 else -1)
        upper = ((-1.0, 0.5, 0.0), (-0.5, -0.4, less), (0.0, 0.2, less), (0.5, -0.4, less), (1.0, 0.5, 0.0))
        lower = ((0.5, 1.5, -less), (0.0, 2.0, -less), (-0.5, 1.5, -less))
        crest = np.array([(dx * (half - less), y + dy * thick + by) for dx, dy, by in (*upper, *lower)])
        middles = (0.125 + 0.25 * i + 0.125 * (row % 2) - 0.06 * (row % 3) + shift for i in range(4))
        shapes = [np.round(((crest + np.array([x, 0.0])) * size - 0.5) * 16).astype(np.int32) for x in middles]
        cv2.fillPoly(picture, shapes, ink, cv2.LINE_AA, 4)
