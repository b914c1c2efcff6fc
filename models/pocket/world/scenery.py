"""Draw the ground of a backdrop: meadow, sea, forest, desert or city, beneath a sky that is there already."""

from __future__ import annotations

import itertools
import math

import numpy as np

from models.pocket.world.paint import Canvas, Colour, Points, box, ellipse, fill, mix, ridge, times
from models.pocket.world.sky import HORIZON, LAMP, TINT, Air


def _waves(base: float, *waves: tuple[float, float, float]) -> list[float]:
    """Return heights on 97 points: a base line less a sum of sines of (height, periods, phase)."""
    x = np.linspace(0, 1, 97)
    return [base - sum(h * math.sin(2 * math.pi * n * v + p) for h, n, p in waves) for v in x.tolist()]


def _hill(canvas: Canvas, air: Air, heights: list[float], colour: Colour, low: Colour, width: float = 0.009) -> None:
    """Paint a range of hills with a lit edge."""
    fill(canvas, ridge(heights), colour, low)
    crest = [(i / (len(heights) - 1), y) for i, y in enumerate(heights)]
    fill(canvas, [*crest, *((x, y + width) for x, y in reversed(crest))], air.edge(colour))


def _meadow(canvas: Canvas, air: Air) -> None:
    blue = air.lit((96, 150, 150), 0.55)
    fill(canvas, ridge(_waves(0.62, (0.045, 1.5, 0.6), (0.02, 3, 2))), blue, mix(blue, air.sky[2], 0.5))
    green = air.lit((104, 178, 92), 0.3)
    _hill(canvas, air, _waves(0.71, (0.035, 1, 3.4), (0.012, 3, 0.5)), green, air.lit((84, 160, 84), 0.15))
    near = air.lit((98, 186, 72))
    _hill(canvas, air, _waves(0.81, (0.03, 1, 0.9), (0.008, 2, 1.0)), near, air.lit((48, 128, 58)))
    if air.weather != "snow":
        petals: tuple[Colour, ...] = ((250, 250, 245), (255, 216, 70), (244, 96, 110))
        for i, (x, y) in enumerate(
            (
                (0.06, 0.9),
                (0.17, 0.965),
                (0.3, 0.9),
                (0.42, 0.96),
                (0.58, 0.955),
                (0.7, 0.89),
                (0.82, 0.955),
                (0.94, 0.9),
            )
        ):
            petal = mix(air.lit(petals[i % 3]), petals[i % 3], 0.35)
            fill(
                canvas,
                [
                    ellipse(x + 0.011 * math.cos(a), y + 0.011 * math.sin(a), 0.009, corners=12)
                    for a in np.arange(5) * 2 * math.pi / 5
                ],
                petal,
            )
            fill(canvas, ellipse(x, y, 0.007, corners=12), air.lit((255, 190, 40) if i % 3 != 1 else (240, 130, 40)))


def _sea(canvas: Canvas, air: Air) -> None:
    far = air.lit((112, 196, 232), 0.25)
    deep = air.lit((18, 92, 178))
    fill(canvas, box(-0.02, HORIZON, 1.02, 1.02), far, deep)
    fill(canvas, box(-0.02, HORIZON - 0.003, 1.02, HORIZON + 0.005), mix(far, (255, 255, 255), 0.5))
    x, _, radius = LAMP[air.light][air.hour]
    shine: Colour = {"day": (255, 252, 224), "sunset": (255, 206, 120), "night": (214, 224, 255)}[air.light]
    for i in range(7):  # the lamp's path on the water
        y, half = HORIZON + 0.02 + 0.042 * i, radius * (0.75 + 0.16 * i) * (1.0 if i % 2 == 0 else 0.72)
        alpha = (0.7 - 0.07 * i) * (1.0 if air.weather == "clear" else 0.45)
        fill(canvas, ellipse(x + 0.012 * (-1) ** i, y, half, 0.0075), shine, alpha=alpha)


def _fir(canvas: Canvas, air: Air, x: float, foot: float, height: float, colour: Colour, *, detail: bool) -> None:
    width = 0.3 * height
    if detail:
        fill(canvas, box(x - 0.012, foot - 0.03, x + 0.012, foot + 0.02), air.lit((112, 76, 46)))
    for tier in range(3):
        low = foot - 0.012 - 0.25 * height * tier
        half = width * (1 - 0.23 * tier)
        peak = low - 0.46 * height
        fill(
            canvas,
            [(x - half, low), (x, peak), (x + half, low)],
            air.edge(colour) if detail else colour,
            times(colour, 0.82),
        )
        if detail:
            fill(canvas, [(x + 0.02 * half, low), (x, peak), (x + half, low)], times(colour, 0.92), times(colour, 0.72))
            if air.weather == "snow":
                fill(
                    canvas,
                    [
                        (x - 0.42 * half, low - 0.27 * height),
                        (x, peak),
                        (x + 0.42 * half, low - 0.27 * height),
                        (x, low - 0.22 * height),
                    ],
                    _snow(air),
                )


def _snow(air: Air) -> Colour:
    return mix(times((246, 250, 255), TINT[air.light]), (226, 232, 255), 0.4 if air.light == "night" else 0.25)


def _forest(canvas: Canvas, air: Air) -> None:
    fill(canvas, ridge(_waves(0.64, (0.03, 1.3, 1.2))), air.lit((110, 160, 150), 0.6), air.lit((110, 160, 150), 0.75))
    for i in range(9):
        _fir(
            canvas,
            air,
            (i + 0.1) / 8.2,
            0.84,
            0.27 + 0.05 * ((i * 7) % 4) / 3,
            air.lit((92, 156, 134), 0.5),
            detail=False,
        )
    fill(canvas, ridge(_waves(0.8, (0.01, 1, 0))), air.lit((60, 128, 86), 0.25), air.lit((60, 128, 86), 0.2))
    for i, (x, height) in enumerate(
        ((0.03, 0.38), (0.2, 0.3), (0.345, 0.42), (0.52, 0.38), (0.67, 0.28), (0.81, 0.26), (0.965, 0.4))
    ):
        _fir(canvas, air, x, 0.86, height, air.lit((42, 142 - 10 * (i % 2), 84)), detail=True)
    _hill(canvas, air, _waves(0.865, (0.012, 1, 0.8)), air.lit((104, 158, 70)), air.lit((54, 104, 56)))


def _desert(canvas: Canvas, air: Air) -> None:
    mesa = air.lit((206, 128, 104), 0.5)
    fill(
        canvas,
        [(-0.02, 0.75), (0.0, 0.56), (0.04, 0.535), (0.17, 0.535), (0.2, 0.57), (0.26, 0.63), (0.3, 0.75)],
        mesa,
        mix(mesa, air.sky[2], 0.4),
    )
    fill(
        canvas,
        [(0.72, 0.75), (0.77, 0.64), (0.83, 0.6), (0.9, 0.6), (0.93, 0.63), (1.02, 0.66), (1.02, 0.75)],
        mesa,
        mix(mesa, air.sky[2], 0.4),
    )
    far = air.lit((244, 206, 140), 0.3)
    _hill(canvas, air, _waves(0.69, (0.028, 1, 0.3), (0.012, 2, 1)), far, air.lit((222, 168, 104), 0.15))
    near = air.lit((250, 208, 128))
    _hill(canvas, air, _waves(0.8, (0.035, 1, 2.9), (0.008, 2, 0)), near, air.lit((206, 138, 76)))
    for x, foot, height in ((0.36, 0.86, 0.3), (0.86, 0.8, 0.15)):
        _cactus(canvas, air, x, foot, height)


def _cactus(canvas: Canvas, air: Air, x: float, foot: float, h: float) -> None:
    green, w = air.lit((52, 150, 84)), 0.085 * h
    fill(
        canvas,
        ellipse(x + 0.12 * h, foot, 0.3 * h, 0.035 * h),
        times(air.lit((206, 138, 76)), 0.7),
        alpha=0.6,
        soft=0.006,
    )
    arms = (((-0.26, -0.62), (-0.26, -0.42), (0.0, -0.36)), ((0.26, -0.78), (0.26, -0.52), (0.0, -0.46)))

    def limb(points: tuple[tuple[float, float], ...], half: float, dx: float) -> list[Points]:
        at = [(x + px * h + dx, foot + py * h) for px, py in points]
        out: list[Points] = [ellipse(px, py, half, corners=20) for px, py in at]
        for (ax, ay), (bx, by) in itertools.pairwise(at):
            length = math.hypot(bx - ax, by - ay)
            ox, oy = -(by - ay) / length * half, (bx - ax) / length * half
            out.append([(ax + ox, ay + oy), (bx + ox, by + oy), (bx - ox, by - oy), (ax - ox, ay - oy)])
        return out

    stem = ((0.0, -0.95), (0.0, 0.0))
    for part, half in ((arms[0], 0.8 * w), (arms[1], 0.8 * w), (stem, w)):
        fill(canvas, limb(part, half, 0.0), green, times(green, 0.75))
        fill(canvas, limb(part[:2], 0.3 * half, -0.35 * half), air.edge(green), alpha=0.8)


def _city(canvas: Canvas, air: Air) -> None:
    far = air.lit((150, 156, 190), 0.55)
    towers: list[Points] = [
        box(i / 9 - 0.01, 0.84 - h, i / 9 + 0.1, 0.9)
        for i, h in enumerate((0.3, 0.4, 0.26, 0.36, 0.46, 0.3, 0.42, 0.28, 0.36))
    ]
    fill(canvas, towers, far, mix(far, air.sky[2], 0.4))
    walls: tuple[Colour, ...] = ((150, 124, 150), (118, 128, 168), (172, 136, 128))
    dark = air.light != "day"
    pane: Colour = (255, 218, 120) if dark else (222, 240, 250)
    off = mix(air.lit((84, 92, 130)), (255, 255, 255), 0.05)
    for i, h in enumerate((0.36, 0.54, 0.3, 0.44, 0.28, 0.48)):
        x0, x1, top = i / 6 + 0.008, i / 6 + 0.156, 0.88 - h
        wall = air.lit(walls[i % 3])
        fill(canvas, box(x0, top, x1, 0.9), wall, times(wall, 0.8))
        fill(canvas, box(x0, top, x0 + 0.012, 0.9), air.edge(wall), wall)
        fill(
            canvas,
            box(x0 - 0.006, top - 0.014, x1 + 0.006, top + 0.004),
            air.edge(wall) if air.weather != "snow" else _snow(air),
        )
        for row in range(int((h - 0.06) / 0.088)):
            for column in range(2):
                wx, wy = x0 + 0.03 + 0.058 * column, top + 0.04 + 0.088 * row
                lighted = not dark or (i * 5 + row * 3 + column * 2) % 4 != 0
                fill(canvas, box(wx, wy, wx + 0.04, wy + 0.052), pane if lighted else off)
                if lighted and not dark:
                    fill(canvas, [(wx, wy), (wx + 0.024, wy), (wx, wy + 0.034)], (255, 255, 255), alpha=0.6)
    road = air.lit((92, 94, 112))
    fill(canvas, box(-0.02, 0.872, 1.02, 0.9), air.lit((178, 176, 184)) if air.weather != "snow" else _snow(air))
    fill(canvas, box(-0.02, 0.892, 1.02, 1.02), road, times(road, 0.85))
    for i in range(5):
        fill(canvas, box(0.03 + 0.2 * i, 0.945, 0.15 + 0.2 * i, 0.96), air.lit((244, 236, 200)), alpha=0.9)


def _snow_bank(canvas: Canvas, air: Air) -> None:
    white = _snow(air)
    _hill(
        canvas,
        air,
        _waves(0.885, (0.014, 1, 1.4), (0.006, 2, 0)),
        white,
        mix(white, air.lit((150, 176, 226)), 0.45),
        0.007,
    )


def draw_place(canvas: Canvas, air: Air, place: str) -> None:
    """Paint the ground of a place, under a bank of snow in snowy weather."""
    {"meadow": _meadow, "forest": _forest, "desert": _desert, "city": _city, "sea": _sea}[place](canvas, air)
    if air.weather == "snow":
        _snow_bank(canvas, air)
