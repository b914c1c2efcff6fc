"""Draw the sky of a backdrop, and say how colours look beneath it: in its light, palette, weather and hour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from models.pocket.world.paint import Canvas, Colour, Points, box, ellipse, fill, glow, mix, times

SKY: dict[str, dict[str, tuple[Colour, Colour, Colour]]] = {  # light -> palette -> top, middle, horizon
    "day": {
        "azure": ((52, 132, 232), (112, 184, 248), (214, 238, 252)),
        "mint": ((28, 150, 170), (102, 206, 204), (222, 246, 226)),
        "rose": ((120, 120, 220), (188, 172, 240), (252, 224, 236)),
        "amber": ((88, 158, 206), (186, 214, 206), (255, 238, 190)),
    },
    "sunset": {
        "azure": ((70, 62, 150), (206, 104, 148), (255, 182, 116)),
        "mint": ((34, 88, 128), (196, 132, 124), (255, 208, 128)),
        "rose": ((112, 44, 124), (232, 92, 128), (255, 176, 160)),
        "amber": ((150, 62, 70), (240, 118, 60), (255, 206, 98)),
    },
    "night": {
        "azure": ((22, 32, 92), (46, 64, 140), (104, 124, 192)),
        "mint": ((10, 52, 78), (26, 92, 116), (92, 152, 160)),
        "rose": ((54, 26, 92), (94, 56, 138), (158, 112, 178)),
        "amber": ((44, 36, 66), (84, 68, 104), (160, 126, 124)),
    },
}
TINT: dict[str, Colour] = {"day": (1.0, 1.0, 1.0), "sunset": (0.98, 0.74, 0.68), "night": (0.5, 0.56, 0.8)}
GRADE: dict[str, Colour] = {
    "azure": (1.0, 1.0, 1.0),
    "mint": (0.78, 1.05, 1.06),
    "rose": (1.14, 0.9, 1.1),
    "amber": (1.18, 1.0, 0.7),
}
# x, y, radius of sun or moon
LAMP: dict[str, dict[str, tuple[float, float, float]]] = {
    "day": {"early": (0.7, 0.13, 0.055), "late": (0.73, 0.44, 0.085)},
    "sunset": {"early": (0.7, 0.37, 0.07), "late": (0.73, 0.61, 0.115)},
    "night": {"early": (0.7, 0.13, 0.06), "late": (0.73, 0.44, 0.09)},
}
# what the hour mixes into the sky's top, middle and horizon, and the share of it
HOUR: dict[str, dict[str, tuple[tuple[Colour, float], ...]]] = {
    "day": {
        "early": (((255, 255, 255), 0.0),) * 3,
        "late": (((40, 84, 196), 0.35), ((216, 232, 236), 0.3), ((255, 222, 140), 0.62)),
    },
    "sunset": {
        "early": (((150, 156, 226), 0.42), ((255, 196, 176), 0.25), ((255, 226, 170), 0.3)),
        "late": (((40, 24, 84), 0.45), ((190, 60, 96), 0.3), ((255, 140, 70), 0.3)),
    },
    "night": {
        "early": (((0, 0, 0), 0.0),) * 3,
        "late": (((10, 10, 40), 0.25), ((120, 132, 190), 0.2), ((196, 196, 226), 0.3)),
    },
}
LATE: dict[str, Colour] = {"day": (1.0, 0.92, 0.84), "sunset": (0.84, 0.76, 0.82), "night": (1.12, 1.1, 1.06)}
HORIZON = 0.68


@dataclass(frozen=True)
class Air:
    """Say how colours look in one light, palette, weather and hour."""

    light: str
    palette: str
    weather: str
    hour: str

    @property
    def sky(self) -> tuple[Colour, Colour, Colour]:
        """Return the sky's colour at the top, in the middle and at the horizon."""
        top, middle, low = SKY[self.light][self.palette]
        shift = HOUR[self.light][self.hour]
        top, middle, low = (mix(c, *to) for c, to in zip((top, middle, low), shift, strict=True))
        if self.weather == "clear":
            return top, middle, low
        grey: Colour = {"rain": (112, 120, 138), "snow": (176, 186, 206), "fog": (196, 202, 212)}[self.weather]
        grey = times(grey, TINT[self.light]) if self.light == "night" else mix(grey, times(grey, TINT[self.light]), 0.5)
        share = {"rain": 0.42, "snow": 0.34, "fog": 0.32}[self.weather]
        return mix(top, grey, share), mix(middle, grey, share), mix(low, grey, share)

    def lit(self, colour: Colour, far: float = 0.0) -> Colour:
        """Return a thing's colour in this light; `far` (0..1) is how much of the sky's haze lies over it."""
        colour = times(times(colour, GRADE[self.palette]), TINT[self.light])
        if self.hour == "late":
            colour = times(colour, LATE[self.light])
        if self.light == "night":
            colour = (colour[0] + 8, colour[1] + 10, colour[2] + 22)
        if self.weather == "rain":
            colour = mix(colour, (84, 92, 108) if self.light != "night" else (54, 60, 84), 0.22)
        return mix(colour, self.sky[2], far)

    def edge(self, colour: Colour) -> Colour:
        """Return the colour of that thing's edge towards the light."""
        warm: Colour = {"day": (255, 255, 226), "sunset": (255, 214, 150), "night": (176, 196, 255)}[self.light]
        return mix(colour, warm, 0.42)


def draw_sky(canvas: Canvas, air: Air) -> None:
    """Paint sky, stars, sun or moon with their glow, and clouds."""
    size = canvas.shape[0]
    top, middle, low = (np.asarray(c, np.float32) for c in air.sky)
    y = ((np.arange(size, dtype=np.float32) + 0.5) / size / HORIZON)[:, None]
    ramp = np.where(
        y < 0.5, top + (middle - top) * np.clip(y / 0.5, 0, 1), middle + (low - middle) * np.clip(y / 0.5 - 1, 0, 1)
    )
    canvas[:] = ramp[:, None]
    x, y_lamp, radius = LAMP[air.light][air.hour]
    veiled = 1.0 if air.weather == "clear" else 0.5
    if air.light == "night":
        for sx, sy, sr in STARS if air.weather in ("clear", "fog") else ():  # not to be taken for snow
            glow(canvas, sx, sy, 2.2 * sr, (220, 228, 255), 0.35 * veiled)
            fill(canvas, _spark(sx, sy, sr), (244, 246, 255), alpha=0.55 + 0.45 * veiled)
        glow(canvas, x, y_lamp, 3.0 * radius, (190, 206, 255), 0.4 * veiled)
        fill(canvas, ellipse(x, y_lamp, radius), (255, 250, 226), (236, 228, 206), alpha=0.4 + 0.6 * veiled)
        for dx, dy, r in ((-0.3, -0.25, 0.26), (0.32, 0.1, 0.2), (-0.1, 0.42, 0.17)):
            fill(
                canvas, ellipse(x + dx * radius, y_lamp + dy * radius, r * radius), (214, 206, 190), alpha=0.75 * veiled
            )
    else:
        warm: Colour = (255, 246, 196) if air.light == "day" else (255, 214, 130)
        if air.hour == "late" and air.light == "day":
            warm = (255, 232, 160)
        glow(canvas, x, y_lamp, 4.2 * radius, warm, 0.45 * veiled)
        glow(canvas, x, y_lamp, 2.0 * radius, warm, 0.55 * veiled)
        core: Colour = (255, 244, 176) if air.light == "day" else (255, 206, 96)
        fill(canvas, ellipse(x, y_lamp, radius), mix(core, (255, 255, 255), 0.35), core, alpha=0.3 + 0.7 * veiled)
    for cx, cy, width in ((0.46, 0.1, 0.2), (0.3, 0.27, 0.15), (0.56, 0.33, 0.12)):
        _cloud(canvas, air, cx, cy, width)


STARS = (
    (0.06, 0.08, 0.011),
    (0.2, 0.17, 0.014),
    (0.31, 0.07, 0.01),
    (0.4, 0.22, 0.011),
    (0.58, 0.2, 0.013),
    (0.85, 0.3, 0.012),
    (0.95, 0.06, 0.011),
    (0.15, 0.36, 0.011),
    (0.45, 0.41, 0.01),
    (0.83, 0.07, 0.01),
)


def _spark(x: float, y: float, radius: float) -> Points:
    return [
        (x + radius * r * math.cos(a), y + radius * r * math.sin(a))
        for a, r in ((i * math.pi / 4, 1.5 if i % 2 == 0 else 0.72) for i in range(8))
    ]


def _cloud(canvas: Canvas, air: Air, x: float, y: float, width: float) -> None:
    puffs = [
        ellipse(x + dx * width, y + dy * width, r * width, 0.86 * r * width)
        for dx, dy, r in ((-0.3, 0.03, 0.17), (-0.08, -0.08, 0.24), (0.18, -0.02, 0.19), (0.36, 0.05, 0.12))
    ]
    puffs.append(box(x - 0.42 * width, y + 0.02 * width, x + 0.44 * width, y + 0.15 * width))
    top: Colour = {"day": (255, 255, 255), "sunset": (255, 196, 170), "night": (128, 142, 204)}[air.light]
    low = mix(top, air.sky[1], 0.55)
    if air.weather in ("rain", "snow"):
        top, low = mix(top, air.sky[0], 0.35), mix(low, air.sky[0], 0.4)
    fill(canvas, puffs, top, low, alpha=0.9 if air.light != "night" else 0.6, soft=0.005)
