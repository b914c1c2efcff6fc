"""Map a head in a pose from head units to pixels of the picture, with turn, tilt and shift."""

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
    """Describe the lower half of a head: half width, chin below the centre, superellipse exponent, narrowing."""

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
    """Return the outline: skull from left to right over the top, jaw from right to left under the chin."""
    jaw = SHAPES[shape]
    angle = np.linspace(math.pi, 2 * math.pi, 24)
    skull = np.stack([jaw.width * np.cos(angle), CROWN * np.sin(angle)], 1)
    angle = np.linspace(0, math.pi, 26)
    x, y = (np.sign(f) * np.abs(f) ** (2 / jaw.power) for f in (np.cos(angle), np.sin(angle)))
    return skull, np.stack([jaw.width * x * (1 - jaw.taper * y**2), jaw.chin * y], 1)


class Head:
    """Place the parts of a head of a given shape in a pose; every method returns pixels [n, 2]."""

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
        """Return half the width of the skull, in head units."""
        return float(self._skull[-1, 0])

    def _placed(self, x: Points, y: Points) -> Points:
        return (np.stack([x, y - NECK], 1) @ self._rotation) * UNIT + self._origin

    def flat(self, points: Points) -> Points:
        """Project points of the silhouette, which a turn leaves in place."""
        return self._placed(points[:, 0], points[:, 1])

    def at_depth(self, points: Points, depth: float) -> Points:
        """Project points that share one depth: 0 is the middle of the head, 1 the face, negative behind the ears."""
        return self._placed(points[:, 0] * self._cos + depth * self._sin, points[:, 1])

    def on_face(self, points: Points) -> Points:
        """Project points on the surface of the face; points near its middle move furthest in a turn."""
        depth = np.sqrt(np.maximum(1.02 - points[:, 0] ** 2 - 0.3 * points[:, 1] ** 2, 0.04))
        edge = np.interp(points[:, 1], self._heights, self._widths)
        return self._placed(np.clip(points[:, 0] * self._cos + depth * self._sin, -edge, edge), points[:, 1])

    def outline(self) -> Points:
        return self.flat(np.concatenate([self._skull, self._jaw]))

    def skull(self, grow: float) -> Points:
        """Return the skull from left to right over the top, scaled by `grow`."""
        return self.flat(self._skull * grow)

    def jaw(self) -> Points:
        """Return the jaw from below the right ear round the chin to below the left ear."""
        return self.flat(self._jaw[3:-3])

    @staticmethod
    def shade(colour: Colour, share: float = 0.17) -> Colour:
        """Return the colour of a warm shadow on the skin."""
        return mixed(colour, (92, 24, 40), share)
