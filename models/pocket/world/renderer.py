"""The procedural world that pocket models are trained on, drawn with OpenCV.

Everything that moves is a function of the time since its motion began, with periods of 12 or 24 frames
(a chunk is 12), sides are one token of the network apart, and a change of scene is an 8-frame cross-fade that starts at a chunk border: the less a
prompt leaves open, the more of a small network's few training minutes go into what can be learned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pocket.world.scene import COLOURS, WALKERS, Scene

Picture = NDArray[np.uint8]  # [size, size, 3] RGB
Colour = tuple[int, int, int]

FADE_FRAMES = 8
SUBJECT_RADIUS = {"small": 0.165, "large": 0.235}  # of the picture's width
SIDE = {"left": 0.25, "middle": 0.5, "right": 0.75}  # of the picture's width
_SHIFT = 4  # cv2 draws at 1/16 pixel with shift=4

SKY: dict[str, tuple[Colour, Colour]] = {
    "day": ((88, 168, 244), (206, 234, 252)),
    "sunset": ((112, 72, 140), (250, 148, 92)),
    "night": ((12, 14, 44), (36, 42, 88)),
}
GROUND: dict[str, Colour] = {
    "meadow": (98, 190, 78),
    "sea": (38, 118, 196),
    "forest": (70, 120, 62),
    "desert": (232, 190, 116),
    "city": (108, 108, 118),
}
TINT: dict[str, tuple[float, float, float]] = {
    "day": (1, 1, 1),
    "sunset": (0.9, 0.66, 0.68),
    "night": (0.32, 0.36, 0.52),
}

SHAPES: dict[str, list[tuple[str, object]]] = {
    # parts in units of the radius, y down; shade: body, dark, light, or a fixed colour
    "cube": [
        ("body", [(-0.9, -0.45), (0.45, -0.45), (0.45, 0.9), (-0.9, 0.9)]),
        ("light", [(-0.9, -0.45), (-0.45, -0.9), (0.9, -0.9), (0.45, -0.45)]),
        ("dark", [(0.45, -0.45), (0.9, -0.9), (0.9, 0.45), (0.45, 0.9)]),
    ],
    "star": [
        (
            "body",
            [
                (
                    (1.08 if i % 2 == 0 else 0.46) * math.sin(i * math.pi / 5),
                    -(1.08 if i % 2 == 0 else 0.46) * math.cos(i * math.pi / 5),
                )
                for i in range(10)
            ],
        )
    ],
    "fish": [
        ("dark", [(-0.5, 0.0), (-1.15, -0.6), (-1.0, 0.0), (-1.15, 0.6)]),
        ("body", [(0.25 + 0.88 * math.cos(a * math.pi / 12), 0.6 * math.sin(a * math.pi / 12)) for a in range(24)]),
        ("light", [(0.0, -0.1), (0.4, 0.1), (0.0, 0.35)]),
    ],
    "rocket": [
        ("dark", [(-0.4, 0.2), (-0.85, 0.85), (0.85, 0.85), (0.4, 0.2)]),
        ("body", [(0.0, -1.15), (0.32, -0.7), (0.42, -0.1), (0.36, 0.75), (-0.36, 0.75), (-0.42, -0.1), (-0.32, -0.7)]),
        ("flame", [(-0.28, 0.75), (0.28, 0.75), (0.0, 1.2)]),
    ],
}


@dataclass(frozen=True)
class Beat:
    """From `frame` on the clip shows `scene`."""

    frame: int
    scene: Scene


def _shade(colour: Colour, factor: float) -> Colour:
    mixed = [c * factor if factor <= 1 else c + (255 - c) * (factor - 1) for c in colour]
    return (int(mixed[0]), int(mixed[1]), int(mixed[2]))


def _points(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _disc(picture: Picture, x: float, y: float, r: float, colour: Colour) -> None:
    centre, radius = _points(np.array([x, y])), round(r * (1 << _SHIFT))
    cv2.circle(picture, (int(centre[0]), int(centre[1])), radius, colour, -1, cv2.LINE_AA, _SHIFT)


def _polygon(picture: Picture, points: object, colour: Colour) -> None:
    cv2.fillPoly(picture, [_points(np.asarray(points, np.float64))], colour, cv2.LINE_AA, _SHIFT)


@lru_cache(maxsize=512)
def _background(place: str, light: str, weather: str, layout: str, landmark: str, size: int) -> Picture:
    s, tint = float(size), np.array(TINT[light])

    def lit(colour: Colour) -> Colour:
        mixed = np.array(colour) * tint
        return (int(mixed[0]), int(mixed[1]), int(mixed[2]))

    top, bottom = (np.array(c, np.float64) for c in SKY[light])
    ramp = np.linspace(0, 1, size)[:, None, None]
    picture = np.broadcast_to(top + (bottom - top) * np.minimum(ramp / 0.72, 1), (size, size, 3)).astype(np.uint8)
    picture = np.ascontiguousarray(picture)

    if light == "night":
        _disc(picture, 0.15 * s, 0.14 * s, 0.075 * s, (246, 240, 206))
        _disc(picture, 0.185 * s, 0.12 * s, 0.065 * s, (14, 17, 48))
        for x, y in [(0.4, 0.08), (0.58, 0.2), (0.72, 0.07), (0.9, 0.16), (0.3, 0.27), (0.82, 0.3)]:
            _disc(picture, x * s, y * s, 0.012 * s, (236, 236, 250))
    else:
        sun: Colour = (255, 226, 92) if light == "day" else (255, 122, 62)
        _disc(picture, 0.84 * s, (0.15 if light == "day" else 0.5) * s, (0.085 if light == "day" else 0.12) * s, sun)

    horizon, ground = 0.72 * s, lit(GROUND[place])
    xs = np.linspace(0, s, 65)
    if place == "meadow":
        far = horizon - 0.07 * s * np.sin(xs / s * 2 * np.pi * 2 + 0.6)
        _polygon(picture, [*zip(xs, far, strict=True), (s, s), (0, s)], _shade(ground, 0.82))
        near = horizon + 0.11 * s + 0.04 * s * np.sin(xs / s * 2 * np.pi + 2.4)
        _polygon(picture, [*zip(xs, near, strict=True), (s, s), (0, s)], ground)
    elif place == "sea":
        _polygon(picture, [(0, horizon), (s, horizon), (s, s), (0, s)], ground)
    elif place == "forest":
        _polygon(picture, [(0, horizon + 0.12 * s), (s, horizon + 0.12 * s), (s, s), (0, s)], ground)
        for i in range(6):
            x, h = (i + 0.5) / 6 * s, (0.34 + 0.1 * ((i * 5) % 3)) * s
            base = horizon + 0.14 * s
            _polygon(
                picture,
                [
                    (x - 0.02 * s, base - 5),
                    (x + 0.02 * s, base - 5),
                    (x + 0.02 * s, base + 5),
                    (x - 0.02 * s, base + 5),
                ],
                lit((96, 66, 40)),
            )
            _polygon(
                picture,
                [(x - 0.105 * s, base), (x, base - h), (x + 0.105 * s, base)],
                lit((30, 104 + 14 * (i % 2), 56)),
            )
    elif place == "desert":
        far = horizon + 0.02 * s - 0.05 * s * np.sin(xs / s * 2 * np.pi + 0.3)
        _polygon(picture, [*zip(xs, far, strict=True), (s, s), (0, s)], _shade(ground, 0.88))
        near = horizon + 0.15 * s + 0.03 * s * np.sin(xs / s * 2 * np.pi + 3.2)
        _polygon(picture, [*zip(xs, near, strict=True), (s, s), (0, s)], ground)
        green = lit((44, 132, 70))
        for x0, y0, x1, y1 in [
            (0.1, 0.5, 0.16, 0.84),
            (0.03, 0.6, 0.07, 0.7),
            (0.03, 0.66, 0.14, 0.7),
            (0.19, 0.54, 0.23, 0.66),
            (0.13, 0.62, 0.23, 0.66),
        ]:
            _polygon(picture, [(x0 * s, y0 * s), (x1 * s, y0 * s), (x1 * s, y1 * s), (x0 * s, y1 * s)], green)
    elif place == "city":
        window = (255, 222, 130) if light != "day" else (206, 228, 240)
        for i, h in enumerate([0.34, 0.5, 0.28, 0.42, 0.56, 0.36]):
            x0, x1, y0 = i / 6 * s, (i + 0.9) / 6 * s, horizon + 0.12 * s - h * s
            _polygon(
                picture, [(x0, y0), (x1, y0), (x1, s), (x0, s)], lit((126 - 14 * (i % 2), 108, 124 + 10 * (i % 3)))
            )
            for wy in np.arange(y0 + 0.04 * s, horizon + 0.06 * s, 0.09 * s):
                for wx in (x0 + 0.03 * s, x0 + 0.09 * s):
                    _polygon(
                        picture,
                        [(wx, wy), (wx + 0.035 * s, wy), (wx + 0.035 * s, wy + 0.045 * s), (wx, wy + 0.045 * s)],
                        window,
                    )
        _polygon(picture, [(0, 0.88 * s), (s, 0.88 * s), (s, s), (0, s)], _shade(ground, 0.7))

    _landmark(picture, landmark, lit)
    if layout == "turned":
        picture = np.ascontiguousarray(np.roll(picture, size // 2, axis=1))

    if weather == "snow":
        _polygon(
            picture,
            [(0, 0.91 * s), (s, 0.91 * s), (s, s), (0, s)],
            lit((244, 246, 252)) if light == "day" else _shade(lit((250, 250, 255)), 1.35),
        )
    if weather == "rain":
        picture = (picture * 0.8 + np.array([96, 104, 120]) * 0.2).astype(np.uint8)
        cloud: Colour = (92, 98, 112) if light != "night" else (52, 56, 72)
        for i in range(5):
            _disc(picture, (i + 0.5) / 5 * s, 0.015 * s, 0.125 * s, cloud)
    picture.setflags(write=False)
    return picture


def _landmark(picture: Picture, landmark: str, lit: Callable[[Colour], Colour]) -> None:
    s, x = float(picture.shape[0]), 0.36 * picture.shape[0]
    if landmark == "balloon":
        _polygon(
            picture,
            [(x - 0.07 * s, 0.32 * s), (x + 0.07 * s, 0.32 * s), (x + 0.025 * s, 0.42 * s), (x - 0.025 * s, 0.42 * s)],
            lit((236, 120, 60)),
        )
        _disc(picture, x, 0.27 * s, 0.095 * s, lit((255, 140, 70)))
        _polygon(
            picture,
            [
                (x - 0.03 * s, 0.185 * s),
                (x + 0.03 * s, 0.185 * s),
                (x + 0.03 * s, 0.355 * s),
                (x - 0.03 * s, 0.355 * s),
            ],
            lit((255, 250, 240)),
        )
        _polygon(
            picture,
            [(x - 0.03 * s, 0.44 * s), (x + 0.03 * s, 0.44 * s), (x + 0.03 * s, 0.49 * s), (x - 0.03 * s, 0.49 * s)],
            lit((150, 98, 60)),
        )
        return
    for i in range(4):
        top, bottom = (0.4 + 0.11 * i) * s, (0.4 + 0.11 * (i + 1)) * s
        a, b = (0.05 + 0.008 * i) * s, (0.05 + 0.008 * (i + 1)) * s
        _polygon(
            picture,
            [(x - a, top), (x + a, top), (x + b, bottom), (x - b, bottom)],
            lit((250, 250, 246) if i % 2 == 0 else (206, 66, 58)),
        )
    _polygon(picture, [(x - 0.065 * s, 0.4 * s), (x, 0.3 * s), (x + 0.065 * s, 0.4 * s)], lit((140, 60, 56)))


def _behind_subject(picture: Picture, scene: Scene, t: int) -> None:
    s = picture.shape[0]
    unit = s / 128
    fall = 2 * unit * t  # one latent cell (8 px at 128) a latent step
    if scene.place == "sea":
        ink = _shade((150, 200, 240), {"day": 1.0, "sunset": 0.75, "night": 0.45}[scene.light])
        for row in range(3):
            y = (0.765 + 0.08 * row) * s
            drift = (t / 12 * 32 * unit * (1 if row % 2 == 0 else -1)) % (32 * unit)
            for i in range(-1, 5):
                x = (i * 32 + 16 * (row % 2)) * unit + drift
                _polygon(
                    picture,
                    [(x, y), (x + 8 * unit, y - 2.5 * unit), (x + 16 * unit, y), (x + 8 * unit, y + 1.2 * unit)],
                    ink,
                )
    if scene.weather in ("rain", "snow"):
        for column in range(5):
            for row in range(-1, 6):
                x = (column * 27 + 10) * unit
                y = (row * 24 + 8 * (column % 3)) * unit + fall % (24 * unit)
                if scene.weather == "snow":
                    _disc(picture, x, y, 2.8 * unit, (250, 250, 255))
                elif y > 0.1 * s:
                    _polygon(
                        picture,
                        [(x, y), (x + 2.4 * unit, y), (x - 1.6 * unit, y + 12 * unit), (x - 4 * unit, y + 12 * unit)],
                        (164, 202, 246),
                    )


def _position(scene: Scene, t: float) -> tuple[float, float]:
    """Centre of the subject in units of the picture's width, `t` frames after its motion began."""
    wave, x = 2 * math.pi * t / 24, SIDE[scene.side]
    if scene.motion == "left":
        return (0.5 - t / 48) % 1.0, 0.5
    if scene.motion == "right":
        return (0.5 + t / 48) % 1.0, 0.5
    if scene.motion == "bounce":
        return x, 0.66 - 0.36 * abs(math.sin(wave))
    if scene.motion == "circle":
        return x + 0.13 * math.sin(wave), 0.5 - 0.17 * math.cos(wave)
    return x + 0.15 * math.sin(wave), 0.5


def _subject(picture: Picture, scene: Scene, x: float, y: float) -> None:
    r = SUBJECT_RADIUS[scene.size] * picture.shape[0]
    colour = COLOURS[scene.colour]
    shades: dict[str, Colour] = {
        "body": colour,
        "dark": _shade(colour, 0.66),
        "light": _shade(colour, 1.45),
        "flame": (255, 150, 40),
    }
    rim, ink = (255, 255, 255), _shade(colour, 0.32)
    if scene.subject == "ball":
        for radius, fill in ((r + 2.4, rim), (r, ink), (r - 1.8, colour)):
            _disc(picture, x, y, radius, fill)
        _disc(picture, x - 0.34 * r, y - 0.36 * r, 0.24 * r, shades["light"])
        return
    flip = -1.0 if scene.motion == "left" and scene.subject == "fish" else 1.0
    parts = [
        (shade, np.asarray(points) * np.array([flip * r, r]) + np.array([x, y]))
        for shade, points in SHAPES[scene.subject]
    ]
    for _, points in parts:
        cv2.polylines(picture, [_points(points)], True, rim, max(4, round(r / 4.5)), cv2.LINE_AA, _SHIFT)
    for _, points in parts:
        cv2.polylines(picture, [_points(points)], True, ink, max(2, round(r / 9)), cv2.LINE_AA, _SHIFT)
    for shade, points in parts:
        _polygon(picture, points, shades[shade])
    if scene.subject == "fish":
        _disc(picture, x + flip * 0.72 * r, y - 0.16 * r, 0.13 * r, (255, 255, 255))
        _disc(picture, x + flip * 0.75 * r, y - 0.16 * r, 0.07 * r, (10, 10, 20))
    if scene.subject == "rocket":
        _disc(picture, x, y - 0.3 * r, 0.2 * r, (206, 236, 252))


def _fog(picture: Picture, t: int) -> Picture:
    s = picture.shape[0]
    rows = (np.arange(s) + 0.5) / s
    veil = np.zeros((s, 1), np.float32)
    for centre, swing in ((0.3, 0.03), (0.58, -0.03), (0.84, 0.03)):
        veil[:, 0] += 0.62 * np.exp(-(((rows - centre - swing * math.sin(2 * math.pi * t / 24)) / 0.085) ** 2))
    veil = np.minimum(0.16 + veil, 0.72)[..., None]
    return (picture * (1 - veil) + 226.0 * veil).astype(np.uint8)


def draw_scene(scene: Scene, t: int, motion_t: int, size: int = 256) -> Picture:
    """The scene at frame `t` of its clip, `motion_t` frames after its present motion began."""
    picture = _background(scene.place, scene.light, scene.weather, scene.layout, scene.landmark, size).copy()
    _behind_subject(picture, scene, t)
    x, y = _position(scene, motion_t)
    reach = 1.4 * SUBJECT_RADIUS[scene.size]
    for wrapped in (
        (x - 1, x, x + 1) if scene.motion in WALKERS else (x,)
    ):  # walkers leave on one side and come back on the other
        if -reach < wrapped < 1 + reach:
            _subject(picture, scene, wrapped * size, y * size)
    return _fog(picture, t) if scene.weather == "fog" else picture


def draw_clip(
    beats: Sequence[Beat], frames: int, size: int = 256, start: int = 0
) -> tuple[Picture, NDArray[np.float32]]:
    """Frames start … start+frames-1 of a clip: [frames, size, size, 3] uint8, and the subject's centre [frames, 2] in 0..1.

    `beats[0].frame` is 0. A later beat fades in over `FADE_FRAMES` frames; its motion begins anew if it differs.
    """
    clip = np.empty((frames, size, size, 3), np.uint8)
    centres = np.empty((frames, 2), np.float32)
    current, began = 0, 0
    previous = (beats[0].scene, 0)
    for f in range(start, start + frames):
        while current + 1 < len(beats) and beats[current + 1].frame <= f:
            previous = (beats[current].scene, began)
            current += 1
            if beats[current].scene.motion != previous[0].motion:
                began = beats[current].frame
        scene = beats[current].scene
        picture = draw_scene(scene, f, f - began, size)
        fade = (f - beats[current].frame + 1) / FADE_FRAMES
        if current > 0 and fade < 1:
            old = draw_scene(previous[0], f, f - previous[1], size)
            picture = cv2.addWeighted(picture, fade, old, 1 - fade, 0)
        clip[f - start], centres[f - start] = picture, _position(scene, f - began)
    return clip, centres
