"""Draw what stands at the edges of a picture: the landmark on one side, a small companion on the other."""

from __future__ import annotations

import math

from models.pocket.world.paint import Canvas, Colour, Points, box, ellipse, fill, mix, times
from models.pocket.world.sky import Air

EDGE = 0.095  # of the picture's width, from its edge to the middle of a landmark
FAR = 0.16  # share of haze over both


def draw_landmark(canvas: Canvas, air: Air, landmark: str, place: str, *, right: bool) -> None:
    """Paint a balloon in the sky or a striped tower on the ground."""
    x = 1 - EDGE if right else EDGE
    if landmark == "balloon":
        _balloon(canvas, air, x)
    else:
        _tower(canvas, air, x, {"meadow": 0.845, "sea": 0.72, "forest": 0.875, "desert": 0.83, "city": 0.885}[place])


def _own(air: Air, colour: Colour) -> Colour:
    """Return a landmark's colour: its own more than the light's, so that it can be told in every light."""
    return mix(air.lit(colour, FAR), colour, 0.3)


def _balloon(canvas: Canvas, air: Air, x: float) -> None:
    y, r = 0.235, 0.083
    red, cream = _own(air, (250, 104, 52)), _own(air, (255, 244, 224))
    ink = times(red, 0.45)

    def envelope(grow: float, narrow: float = 1.0) -> Points:
        upper = [
            (x + narrow * (r + grow) * math.cos(a), y - (r + grow) * math.sin(a))
            for a in (math.pi * i / 24 for i in range(25))
        ]
        lower = [(-0.86, 0.5), (-0.5, 0.98), (-0.26, 1.24), (0.26, 1.24), (0.5, 0.98), (0.86, 0.5)]
        return [
            *upper,
            *((x + narrow * (px * r + math.copysign(grow, px)), y + py * r + grow * 0.4) for px, py in lower),
        ]

    for side in (-1, 1):
        fill(
            canvas,
            [
                (x + side * 0.2 * r, y + 1.2 * r),
                (x + side * 0.26 * r, y + 1.2 * r),
                (x + side * 0.2 * r, y + 1.62 * r),
                (x + side * 0.13 * r, y + 1.62 * r),
            ],
            ink,
        )
    fill(canvas, envelope(0.006), ink)
    fill(canvas, envelope(0.0), mix(red, (255, 255, 255), 0.12), times(red, 0.8))
    fill(canvas, envelope(0.0, 0.62), cream, times(cream, 0.82))
    fill(canvas, envelope(0.0, 0.26), mix(red, (255, 255, 255), 0.12), times(red, 0.8))
    fill(canvas, ellipse(x - 0.4 * r, y - 0.42 * r, 0.2 * r, 0.26 * r), (255, 255, 255), alpha=0.4, soft=0.005)
    fill(canvas, box(x - 0.28 * r, y + 1.58 * r, x + 0.28 * r, y + 2.02 * r), ink)
    fill(canvas, box(x - 0.22 * r, y + 1.62 * r, x + 0.22 * r, y + 1.96 * r), _own(air, (196, 130, 76)))


def _tower(canvas: Canvas, air: Air, x: float, foot: float) -> None:
    top = foot - 0.43
    red, white = _own(air, (214, 56, 58)), _own(air, (250, 250, 248))
    ink = times(red, 0.4)

    def half(y: float) -> float:
        return 0.036 + 0.024 * (y - top) / (foot - top)

    def band(y0: float, y1: float, left: float = -1.0, right: float = 1.0, grow: float = 0.0) -> Points:
        return [
            (x + left * (half(y0) + grow), y0 - grow),
            (x + right * (half(y0) + grow), y0 - grow),
            (x + right * (half(y1) + grow), y1 + grow),
            (x + left * (half(y1) + grow), y1 + grow),
        ]

    if abs(foot - 0.72) < 1e-6:  # a lighthouse in the sea stands on a rock
        rock = air.lit((120, 116, 128))
        fill(
            canvas,
            [
                (x - 0.115, foot + 0.05),
                (x - 0.08, foot - 0.01),
                (x - 0.03, foot - 0.028),
                (x + 0.05, foot - 0.02),
                (x + 0.09, foot + 0.01),
                (x + 0.12, foot + 0.05),
            ],
            air.edge(rock),
            times(rock, 0.7),
        )
    fill(canvas, band(top, foot, grow=0.006), ink)
    for i in range(5):
        y0, y1 = top + (foot - top) * i / 5, top + (foot - top) * (i + 1) / 5
        tone = red if i % 2 == 0 else white
        fill(canvas, band(y0, y1), tone)
        fill(canvas, band(y0, y1, 0.3, 1.0), times(tone, 0.78))
        fill(canvas, band(y0, y1, -0.8, -0.4), mix(tone, (255, 255, 255), 0.4), alpha=0.7)
    fill(canvas, box(x - 0.052, top - 0.012, x + 0.052, top + 0.008), ink)
    fill(canvas, box(x - 0.03, top - 0.062, x + 0.03, top - 0.01), ink)
    fill(canvas, box(x - 0.023, top - 0.056, x + 0.023, top - 0.014), (255, 240, 170))
    fill(canvas, [(x - 0.046, top - 0.058), (x, top - 0.115), (x + 0.046, top - 0.058)], ink)
    fill(canvas, [(x - 0.035, top - 0.063), (x, top - 0.106), (x + 0.035, top - 0.063)], red, times(red, 0.8))


def draw_companion(canvas: Canvas, air: Air, companion: str, *, right: bool) -> None:
    """Paint two birds or a kite in an upper corner."""
    x = 1 - 0.105 if right else 0.105
    if companion == "birds":
        _birds(canvas, air, x)
    else:
        _kite(canvas, air, x)


def _birds(canvas: Canvas, air: Air, x: float) -> None:
    white, ink = mix(air.lit((255, 255, 255)), (255, 255, 255), 0.45), mix(air.sky[0], (24, 26, 48), 0.75)
    for dx, y, span in ((-0.022, 0.125, 0.078), (0.036, 0.228, 0.06)):
        for grow, tone in ((0.0055, ink), (0.0, white)):
            wings: list[Points] = []
            for side in (-1, 1):
                upper = [
                    (u, -0.46 * math.sin(math.pi * min(1.0, 0.1 + 0.95 * u)) ** 0.9 + 0.1)
                    for u in (0.0, 0.16, 0.36, 0.62, 1.0)
                ]
                lower = [(u, v + 0.3 * (1 - u) ** 0.7) for u, v in reversed(upper)]
                line = [*((px, py - grow / span) for px, py in upper), *((px, py + grow / span) for px, py in lower)]
                wings.append([(x + dx + side * (px * span + grow * (px > 0.9)), y + py * span) for px, py in line])
            fill(canvas, wings, tone)


def _kite(canvas: Canvas, air: Air, x: float) -> None:
    y, w, h = 0.15, 0.062, 0.085
    blue, yellow = _own(air, (64, 190, 214)), _own(air, (255, 214, 70))
    ink = times(blue, 0.35)
    tail = [(x + 0.018 * math.sin(9 * u), y + h * 1.2 + 0.16 * u) for u in (i / 20 for i in range(21))]
    fill(canvas, [*((px - 0.005, py) for px, py in tail), *((px + 0.005, py) for px, py in reversed(tail))], ink)
    for i, at in enumerate((6, 13, 20)):
        px, py = tail[at]
        fill(
            canvas,
            [
                [(px, py), (px - 0.022, py - 0.013), (px - 0.022, py + 0.013)],
                [(px, py), (px + 0.022, py - 0.013), (px + 0.022, py + 0.013)],
            ],
            yellow if i % 2 == 0 else blue,
        )
    fill(canvas, [(x, y - h - 0.009), (x + w + 0.007, y), (x, y + 1.25 * h + 0.009), (x - w - 0.007, y)], ink)
    for left, tone in ((True, blue), (False, yellow)):
        side = -1 if left else 1
        fill(canvas, [(x, y - h), (x + side * w, y), (x, y)], mix(tone, (255, 255, 255), 0.2))
        other = yellow if left else blue
        fill(canvas, [(x, y), (x + side * w, y), (x, y + 1.25 * h)], times(other, 0.9))
