"""Draw backdrops of portraits: six quiet places in large shapes, softer than the face."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.pocket.world.portrait.canvas import OVERSIZE, Canvas, disc, mixed, smooth
from models.pocket.world.portrait.face import Colour

SIZE = 128

_RAMP: dict[str, tuple[Colour, Colour]] = {  # colour at the top, colour at the bottom
    "studio": ((198, 204, 216), (150, 158, 178)),
    "sky": ((122, 196, 240), (214, 238, 248)),
    "sunset": ((134, 92, 152), (252, 176, 120)),
    "garden": ((196, 230, 222), (220, 240, 210)),
    "room": ((236, 212, 184), (226, 196, 164)),
    "night": ((26, 30, 66), (62, 62, 112)),
}


@lru_cache(maxsize=len(_RAMP))
def backdrop(name: str) -> NDArray[np.uint8]:
    """Return a backdrop [256, 256, 3] uint8 RGB, read-only; copy it to draw on it."""
    top, bottom = (np.array(c, np.float64) for c in _RAMP[name])
    ramp = np.linspace(0, 1, SIZE * OVERSIZE)[:, None, None]
    picture = np.broadcast_to(top + (bottom - top) * ramp, (SIZE * OVERSIZE, SIZE * OVERSIZE, 3)).round()
    canvas = Canvas(np.ascontiguousarray(picture.astype(np.uint8)))
    _furnish(canvas, name)
    canvas.picture.setflags(write=False)
    return canvas.picture


def _furnish(canvas: Canvas, name: str) -> None:
    def box(left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        canvas.fill(np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64), colour)

    def hill(points: list[tuple[float, float]], colour: Colour) -> None:
        line = smooth(np.array(points, np.float64), closed=False)
        canvas.fill(np.concatenate([line, [(140, 140), (-12, 140)]]), colour)

    if name == "studio":
        for radius, share in ((62, 0.25), (46, 0.55)):
            canvas.fill(disc(64, 58, radius, radius), mixed((176, 184, 200), (240, 244, 250), share))
    elif name == "sky":
        for x, y in ((16, 30), (112, 22), (108, 78), (10, 86)):
            for dx, dy, r in ((-10, 3, 8), (0, -1, 11), (11, 3, 8)):
                canvas.fill(disc(x + dx, y + dy, r, 0.8 * r), (246, 251, 255))
    elif name == "sunset":
        canvas.fill(disc(96, 52, 30, 30), (255, 214, 130))
        hill([(-12, 92), (20, 84), (60, 94), (100, 82), (140, 92)], (150, 84, 112))
        hill([(-12, 108), (30, 104), (80, 110), (140, 100)], (112, 62, 98))
    elif name == "garden":
        for x, y, r in ((6, 66, 26), (26, 84, 20), (122, 62, 28), (102, 86, 20)):
            canvas.fill(disc(x, y, r, r), (126, 188, 116))
        hill([(-12, 96), (30, 90), (64, 96), (100, 90), (140, 96)], (96, 166, 98))
        for x, y in ((10, 58), (24, 78), (116, 50), (122, 74), (106, 84), (8, 84)):
            canvas.fill(disc(x, y, 3.4, 3.4), (250, 178, 196))
    elif name == "room":
        box(-2, 104, 130, 130, (190, 140, 108))
        box(6, 16, 36, 60, (150, 106, 80))
        box(9, 19, 33, 57, (172, 216, 234))
        box(20, 19, 22, 57, (150, 106, 80))
        box(114, 62, 117, 110, (120, 90, 84))
        canvas.fill(np.array([(104, 64), (110, 40), (121, 40), (127, 64)], np.float64), (250, 226, 150))
    else:
        canvas.fill(disc(104, 24, 13, 13), (250, 240, 200))
        for x, top, right in ((-2, 52, 16), (16, 70, 32), (94, 60, 112), (112, 44, 130)):
            box(x, top, right, 130, (38, 38, 78))
            for wx in range(x + 4, right - 5, 7):
                for wy in range(top + 6, 112, 12):
                    box(wx, wy, wx + 3.5, wy + 5, (248, 208, 120))
        for x, y in ((14, 16), (36, 30), (66, 8), (84, 38)):
            canvas.fill(disc(x, y, 1.5, 1.5), (236, 236, 250))
