"""Draw a scene's subject as a sprite: inflated shading, a highlight, thin ink around it and a soft light halo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.motion import SUBJECT_RADIUS
from models.pocket.world.paint import Colour, Mask, Points, coverage, ellipse, mix, times
from models.pocket.world.scene import COLOURS

INK = 0.0105  # of the picture's width
HALO = 0.017
REACH = 1.28  # half a sprite's side in radii, without ink and halo
FINE = 2  # a sprite is stored at twice the picture's resolution, so that it can be placed between pixels
_LIGHT = np.array([-0.46, -0.66, 0.6], np.float32) / np.float32(math.sqrt(0.46**2 + 0.66**2 + 0.6**2))


@dataclass(frozen=True)
class Sprite:
    """Hold the picture of a subject, `FINE` times as fine as the picture that it is drawn into.

    Attributes:
        paint: uint8 [n, n, 4], RGB multiplied by alpha, and alpha.
        body: float32 [n, n], the subject's own area without ink and halo.
    """

    paint: NDArray[np.uint8]
    body: Mask


@dataclass(frozen=True)
class Part:
    """Hold a part of a subject, in units of its radius, y down; later parts lie over earlier ones."""

    points: Points
    tone: str = "body"  # body, dark, light, or a key of FIXED
    roundness: float = 0.5  # width of the rounded edge in radii; 0 is flat
    corner: float = 0.05  # radius of rounded corners


FIXED: dict[str, Colour] = {
    "flame": (255, 132, 36),
    "fire": (255, 226, 110),
    "pane": (176, 226, 250),
    "frame": (236, 240, 246),
    "eye": (255, 255, 255),
    "pupil": (22, 22, 40),
}


def _spline(points: Points, steps: int = 8) -> Points:
    """Return a closed Catmull-Rom curve through the points."""
    p = np.asarray(points, np.float64)
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    out = []
    for u in np.arange(steps) / steps:
        out.append(
            0.5
            * (
                2 * p
                + (after - before) * u
                + (2 * before - 5 * p + 4 * after - beyond) * u * u
                + (3 * p - before - 3 * after + beyond) * u**3
            )
        )
    return [(float(x), float(y)) for x, y in np.stack(out, 1).reshape(-1, 2)]


def _star() -> Points:
    return [
        (
            (1.12 if i % 2 == 0 else 0.53) * math.sin(i * math.pi / 5),
            0.04 - (1.12 if i % 2 == 0 else 0.53) * math.cos(i * math.pi / 5),
        )
        for i in range(10)
    ]


SHAPES: dict[str, tuple[Part, ...]] = {
    "ball": (Part(ellipse(0, 0, 1.0, corners=96), roundness=1.0, corner=0.0),),
    "cube": (
        Part([(-0.92, -0.42), (0.46, -0.42), (0.46, 0.92), (-0.92, 0.92)], "body", 0.16, 0.0),
        Part([(-0.92, -0.42), (-0.46, -0.9), (0.92, -0.9), (0.46, -0.42)], "light", 0.12, 0.0),
        Part([(0.46, -0.42), (0.92, -0.9), (0.92, 0.44), (0.46, 0.92)], "dark", 0.12, 0.0),
    ),
    "star": (Part(_star(), roundness=0.0, corner=0.1),),
    "fish": (
        Part(
            _spline([(-0.5, 0.0), (-0.86, -0.4), (-1.2, -0.58), (-1.1, 0.0), (-1.2, 0.58), (-0.86, 0.4)]), "dark", 0.3
        ),
        Part(_spline([(-0.35, -0.42), (-0.1, -0.84), (0.22, -0.86), (0.5, -0.45)]), "dark", 0.25),
        Part(_spline([(-0.1, 0.5), (-0.3, 0.86), (0.0, 0.82), (0.28, 0.5)]), "dark", 0.25),
        Part(
            _spline(
                [
                    (1.14, 0.04),
                    (0.98, -0.3),
                    (0.55, -0.55),
                    (0.05, -0.58),
                    (-0.42, -0.32),
                    (-0.72, 0.0),
                    (-0.42, 0.34),
                    (0.05, 0.62),
                    (0.55, 0.6),
                    (0.98, 0.36),
                ]
            ),
            "body",
            0.62,
            0.0,
        ),
        Part(ellipse(0.62, -0.12, 0.19), "eye", 0.0, 0.0),
        Part(ellipse(0.67, -0.11, 0.105), "pupil", 0.0, 0.0),
    ),
    "rocket": (
        Part(_spline([(-0.26, 0.6), (-0.24, 0.9), (0.0, 1.26), (0.24, 0.9), (0.26, 0.6)]), "flame", 0.0, 0.0),
        Part(_spline([(-0.13, 0.6), (-0.12, 0.82), (0.0, 1.02), (0.12, 0.82), (0.13, 0.6)]), "fire", 0.0, 0.0),
        Part([(-0.3, 0.05), (-0.62, 0.38), (-0.8, 0.92), (-0.3, 0.7)], "dark", 0.3),
        Part([(0.3, 0.05), (0.62, 0.38), (0.8, 0.92), (0.3, 0.7)], "dark", 0.3),
        Part(
            _spline(
                [
                    (0.0, -1.24),
                    (0.3, -0.82),
                    (0.44, -0.2),
                    (0.4, 0.4),
                    (0.28, 0.74),
                    (-0.28, 0.74),
                    (-0.4, 0.4),
                    (-0.44, -0.2),
                    (-0.3, -0.82),
                ]
            ),
            "body",
            0.45,
            0.0,
        ),
        Part(ellipse(0.0, -0.26, 0.26), "frame", 0.1, 0.0),
        Part(ellipse(0.0, -0.26, 0.185), "pane", 0.0, 0.0),
    ),
}
_OUTLINED = {"body", "dark", "light", "frame"}  # parts that ink separates from what lies beneath them


def tones(colour: str) -> dict[str, Colour]:
    """Return the colours of a subject's parts."""
    base: Colour = COLOURS[colour]
    shadow = mix(times(base, 0.62), (40, 40, 110), 0.12) if colour != "white" else (150, 160, 192)
    return {"body": base, "dark": mix(base, shadow, 0.55), "light": mix(base, (255, 255, 255), 0.28), **FIXED}


def ink_of(colour: str) -> Colour:
    """Return the colour of a subject's outline."""
    return (44, 48, 70) if colour == "white" else mix(times(COLOURS[colour], 0.2), (24, 18, 44), 0.4)


def _rounded(mask: Mask, sigma: float) -> Mask:
    """Round a mask's corners with a blur and a threshold that keeps its edge antialiased."""
    if sigma < 0.4:
        return mask
    soft = cv2.GaussianBlur(mask, (0, 0), sigma)
    return np.clip((soft - 0.5) * np.float32(2.5 * sigma) + 0.5, 0, 1)


def _lit(mask: Mask, colour: Colour, roundness: float) -> NDArray[np.float32]:
    """Shade a part as if it were inflated; `roundness` is the width of its rounded edge in pixels."""
    base = np.asarray(colour, np.float32)
    if roundness <= 0:
        return np.broadcast_to(base, (*mask.shape, 3))
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    rise = 1 - np.minimum(inside / roundness, 1)
    height = cv2.GaussianBlur(np.sqrt(1 - rise * rise) * np.float32(roundness), (0, 0), max(0.6, 0.1 * roundness))
    dx, dy = cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8
    length = np.sqrt(dx * dx + dy * dy + 1)
    facing = (_LIGHT[2] - dx * _LIGHT[0] - dy * _LIGHT[1]) / length
    dark = np.asarray(mix(times(colour, 0.5), (44, 40, 110), 0.16), np.float32)
    bright = np.asarray(mix(colour, (255, 255, 255), 0.3), np.float32)
    low = np.clip((facing + 0.25) / 0.85, 0, 1)[..., None]
    high = np.clip((facing - 0.6) / 0.4, 0, 1)[..., None]
    return dark + (base - dark) * low + (bright - base) * high


def _facets(shade: NDArray[np.float32], colour: Colour, scale: float, offset: tuple[float, float]) -> None:
    """Shade a star as ten facets that meet in its middle."""
    tips = _star()
    for i in range(10):
        a, b = tips[i], tips[(i + 1) % 10]
        area = coverage(
            [[(0, 0.04), (1.3 * a[0], 1.3 * a[1]), (1.3 * b[0], 1.3 * b[1])]], scale, shade.shape[:2], offset
        )
        nx, ny = b[1] - a[1], a[0] - b[0]
        facing = (nx * float(_LIGHT[0]) + ny * float(_LIGHT[1])) / math.hypot(nx, ny)
        tone = (
            mix(colour, (255, 255, 255), 0.36 * facing)
            if facing > 0
            else mix(colour, times(mix(colour, (60, 50, 130), 0.25), 0.5), -0.85 * facing)
        )
        shade += area[..., None] * (np.asarray(tone, np.float32) - shade)


def _gloss(shade: NDArray[np.float32], subject: str, scale: float, middle: float) -> None:
    """Add a soft highlight and a small sharp one where the light falls."""
    marks: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
        "ball": ((-0.38, -0.46, 0.3, 0.19, 0.78),),
        "fish": ((0.1, -0.34, 0.34, 0.085, 0.55),),
        "rocket": ((-0.2, -0.62, 0.065, 0.24, 0.6), (-0.08, -0.34, 0.07, 0.05, 0.9)),
        "star": (),
        "cube": ((-0.62, -0.22, 0.2, 0.06, 0.45),),
    }
    for x, y, rx, ry, strength in marks[subject]:
        tilt = -0.6 if subject == "ball" else 0.0
        c, s = math.cos(tilt), math.sin(tilt)
        outline = [(x + c * px - s * py, y + s * px + c * py) for px, py in ellipse(0, 0, rx, ry)]
        area = cv2.GaussianBlur(
            coverage([outline], scale, shade.shape[:2], (-middle, -middle)), (0, 0), max(0.6, 0.03 * scale)
        )
        shade += (area * np.float32(strength))[..., None] * (255 - shade)


@lru_cache(maxsize=256)
def sprite(subject: str, colour: str, size: str, width: int, *, facing_left: bool) -> Sprite:
    """Draw a subject for pictures of that width; a fish that swims left is mirrored."""
    scale = SUBJECT_RADIUS[size] * width * FINE
    ink, halo = INK * width * FINE, HALO * width * FINE
    n = 2 * math.ceil(REACH * scale + ink + halo + 2)
    middle = n / 2
    paints, line = tones(colour), np.asarray(ink_of(colour), np.float32)
    picture = np.zeros((n, n, 3), np.float32)
    body = np.zeros((n, n), np.float32)
    for part in SHAPES[subject]:
        corners = np.asarray(part.points) * scale + middle
        x0, y0 = (max(0, int(v - ink - 4)) for v in corners.min(0))
        x1, y1 = (min(n, int(v + ink + 6)) for v in corners.max(0))
        area, below = picture[y0:y1, x0:x1], body[y0:y1, x0:x1]
        mask = coverage([part.points], scale, below.shape, (x0 - middle, y0 - middle))
        mask = _rounded(mask, part.corner * scale)
        shade = np.array(_lit(mask, paints[part.tone], part.roundness * scale))
        if subject == "star":
            _facets(shade, paints["body"], scale, (x0 - middle, y0 - middle))
        if part.tone in _OUTLINED and subject != "cube":
            outside = cv2.distanceTransform((mask < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
            edge = np.clip(0.62 * ink - outside + 0.5, 0, 1) * below
            area += edge[..., None] * (line - area)
        area += mask[..., None] * (shade - area)
        np.maximum(below, mask, out=below)
    if subject == "fish":
        _fish_lines(picture, line, scale, middle)
    if subject == "cube":
        _cube_edges(picture, paints["light"], scale, middle)
    _gloss(picture, subject, scale, middle)
    outside = cv2.distanceTransform((body < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    inked = np.clip(ink - outside + 0.5, 0, 1)
    light = np.clip((ink + halo - outside) / (0.75 * halo), 0, 1)
    light = light * light * (3 - 2 * light) * np.float32(0.9)
    alpha = np.maximum(np.maximum(body, inked), light)
    outer = 255 * light[..., None] * (1 - inked[..., None]) + line * inked[..., None]
    colours = outer * (1 - body[..., None]) + picture * body[..., None]
    paint = np.dstack([np.clip(colours, 0, 255), alpha * 255]).round().astype(np.uint8)
    if facing_left:
        paint, body = np.ascontiguousarray(paint[:, ::-1]), np.ascontiguousarray(body[:, ::-1])
    paint.setflags(write=False)
    return Sprite(paint, body)


def _stroke(
    picture: NDArray[np.float32],
    points: Points,
    width: float,
    colour: NDArray[np.float32],
    share: float,
    scale: float,
    middle: float,
) -> None:
    """Draw a line of that width in radii."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    at = np.round((np.asarray(points) * scale + middle - 0.5) * 16).astype(np.int32)
    cv2.polylines(
        mask, [at], isClosed=False, color=255, thickness=max(1, round(width * scale)), lineType=cv2.LINE_AA, shift=4
    )
    picture += (mask.astype(np.float32) * np.float32(share / 255))[..., None] * (colour - picture)


def _fish_lines(picture: NDArray[np.float32], line: NDArray[np.float32], scale: float, middle: float) -> None:
    gill = [(0.36 - 0.12 * math.cos(a), 0.08 + 0.32 * math.sin(a)) for a in np.linspace(-1.2, 1.2, 9)]
    mouth = [(0.86 + 0.17 * math.cos(a), 0.17 + 0.1 * math.sin(a)) for a in np.linspace(0.4, 2.4, 9)]
    _stroke(picture, gill, 0.05, line, 0.6, scale, middle)
    _stroke(picture, mouth, 0.055, line, 0.9, scale, middle)


def _cube_edges(picture: NDArray[np.float32], light: Colour, scale: float, middle: float) -> None:
    shine = np.asarray(mix(light, (255, 255, 255), 0.35), np.float32)
    for a, b in (((-0.9, -0.42), (0.46, -0.42)), ((0.46, -0.42), (0.9, -0.88)), ((0.46, -0.42), (0.46, 0.9))):
        _stroke(picture, [a, b], 0.045, shine, 0.75, scale, middle)
