"""Show pictures of a film as its display matrix says: turned by quarters, mirrored, or both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import av
import numpy as np
from av.sidedata.sidedata import Type
from numpy.typing import NDArray

SLANT = 0.01  # of a matrix: a share of its largest part that counts as 0, as writers round


@dataclass(frozen=True)
class Turn:
    """Say how a stored picture becomes an upright one: first it may swap rows and columns, then be mirrored."""

    swapped: bool = False
    mirrored: bool = False  # left and right
    upended: bool = False  # top and bottom

    def applied(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture [H, W, C] turned, as a view; it is [W, H, C] if rows and columns are swapped."""
        turned = picture.swapaxes(0, 1) if self.swapped else picture
        return turned[:: -1 if self.upended else 1, :: -1 if self.mirrored else 1]


def turn_of(picture: av.VideoFrame) -> Turn:
    """Return how a decoded picture is to be turned. ValueError with the angle, in degrees, if by no quarter turn."""
    data = picture.side_data.get(Type.DISPLAYMATRIX)
    return Turn() if data is None else turn_in(bytes(data))


def turn_in(matrix: bytes) -> Turn:
    """Return the turn of a display matrix: nine int32 of ISO/IEC 14496-12, 6.2.2, in the machine's byte order.

    A stored (x, y) is shown at (a x + c y, b x + d y), y downward. Only signs count: sizes are said elsewhere. One that
    shows nothing counts as none. ValueError with the angle, in degrees, if it turns by another than a quarter turn.
    """
    a, b, _, c, d, *_ = (float(value) for value in np.frombuffer(matrix, np.int32))
    most = max(abs(part) for part in (a, b, c, d))
    if max(abs(b), abs(c)) <= SLANT * most:
        return Turn(mirrored=a < 0, upended=d < 0)
    if max(abs(a), abs(d)) <= SLANT * most:
        return Turn(swapped=True, mirrored=c < 0, upended=b < 0)
    raise ValueError(f"{math.degrees(math.atan2(b, a)):.0f}°")
