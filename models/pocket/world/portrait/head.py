"""A head in a pose: from head units to pixels of the picture, with its turn, tilt and shift."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from models.pocket.world.portrait.canvas import Points, mixed
from models.pocket.world.portrait.face import Colour, Pose

UNIT = 36.0  # pixels
CENTRE = (64.0, 60.0)
NECK = 1.15  # the head tilts around this height
TURN, TILT = math.radians(22), math.radians(9)
SHIFT = (5.0, 3.2)
EYE_AT, EYE_HALF = (0.4, 0.0), (0.225, 0.2)
MOUTH_AT = 0.64


class Jaw(NamedTuple):
    """Lower half of a head: half width, chin below the centre, exponent of its superellipse, how much it narrows."""

    width: float
    chin: float
    power: float
    taper: float


SHAPES: dict[str, Jaw] = {
    "oval": Jaw(0.99, 1.2, 2.0, 0.1),
    "round": Jaw(1.08, 1.08, 2.15, 0.0),
    "square": Jaw(1.0, 1.16, 3.0, 0.08),
    "heart": Jaw(1.03, 1.24, 2.0, 0.3),
}
CROWN = 1.08  # of the skull above the centre


@lru_cache(maxsize=len(SHAPES))
def _half_outline(shape: str) -> tuple[Points, Points]:
    """Skull from left to right over the top, jaw from right to left under the chin."""
    jaw = SHAPES[shape]
    angle = np.linspace(math.pi, 2 * math.pi, 24)
    skull = np.stack([jaw.width * np.cos(angle), CROWN * np.sin(angle)], 1)
    angle = np.linspace(0, math.pi, 26)
    x, y = (np.sign(f) * np.abs(f) ** (2 / jaw.power) for f in (np.cos(angle), np.sin(angle)))
    return skull, np.stack([jaw.width * x * (1 - jaw.taper * y**2), jaw.chin * y], 1)


class Head:
    """Where the parts of a head of that shape are in that pose; every method gives pixels [n, 2]."""

    def __init__(self, shape: str, pose: Pose) -> None:
        self.pose = pose
        self._skull, self._jaw = _half_outline(shape)
        self._jaw = self._jaw * np.array([1.0, 1 + 0.07 * pose.mouth])  # the chin drops
        right = np.concatenate([self._skull[len(self._skull) // 2 :], self._jaw[: len(self._jaw) // 2]])
        self._widths, self._heights = right[:, 0], right[:, 1]
        self._sin, self._cos = math.sin(TURN * pose.turn), math.cos(TURN * pose.turn)
        c, s = math.cos(TILT * pose.tilt), math.sin(TILT * pose.tilt)
        self._rotation = np.array([[c, s], [-s, c]])
        x, y = CENTRE[0] + SHIFT[0] * pose.shift_x, CENTRE[1] + SHIFT[1] * pose.shift_y
        self._origin = np.array([x, y + NECK * UNIT])
        self.body = (CENTRE[0] + 0.3 * SHIFT[0] * pose.shift_x, 112.5 - 1.3 * pose.breath)

    @property
    def width(self) -> float:
        """Half the width of the skull, in head units."""
        return float(self._skull[-1, 0])

    def _placed(self, x: Points, y: Points) -> Points:
        return (np.stack([x, y - NECK], 1) @ self._rotation) * UNIT + self._origin

    def flat(self, points: Points) -> Points:
        """Of the silhouette: a turn leaves it."""
        return self._placed(points[:, 0], points[:, 1])

    def at_depth(self, points: Points, depth: float) -> Points:
        """All at one depth: 0 is the middle of the head, 1 the face, negative behind the ears."""
        return self._placed(points[:, 0] * self._cos + depth * self._sin, points[:, 1])

    def on_face(self, points: Points) -> Points:
        """On the surface of the face: the nearer to its middle, the further a turn takes them, but not off the face."""
        depth = np.sqrt(np.maximum(1.02 - points[:, 0] ** 2 - 0.3 * points[:, 1] ** 2, 0.04))
        edge = np.interp(points[:, 1], self._heights, self._widths)
        return self._placed(np.clip(points[:, 0] * self._cos + depth * self._sin, -edge, edge), points[:, 1])

    def outline(self) -> Points:
        return self.flat(np.concatenate([self._skull, self._jaw]))

    def skull(self, grow: float) -> Points:
        """The skull from left to right over the top, `grow` times as large."""
        return self.flat(self._skull * grow)

    def jaw(self) -> Points:
        """The jaw from below the right ear round the chin to below the left one."""
        return self.flat(self._jaw[3:-3])

    @staticmethod
    def shade(colour: Colour, share: float = 0.17) -> Colour:
        """A warm shadow on the skin."""
        return mixed(colour, (92, 24, 40), share)
