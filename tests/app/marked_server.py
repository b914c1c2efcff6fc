"""Run the command line with one change: every frame shows the number of its chunk as a row of blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from app.cli import main
from streaming.live.playout import Playout, Shown
from streaming.media.h264 import Picture

BITS = 16  # squares in a row across the picture, the lowest bit on the left; white is 1
_add = Playout.add


def marked(picture: Picture, number: int) -> Picture:
    bits = (number >> np.arange(BITS)) & 1
    side = picture.shape[1] // BITS
    picture = picture.copy()
    picture[:side, : BITS * side] = np.repeat(255 * bits.astype(np.uint8), side)[None, :, None]
    return picture


def add(playout: Playout, frames: Iterable[Shown]) -> None:
    _add(playout, [replace(f, picture=marked(f.picture, f.chunk)) for f in frames])


if __name__ == "__main__":
    Playout.add = add  # type: ignore[method-assign]
    main()
