"""Run the server with the tiny avatar, whose picture is white in every frame with loud sound and black in others.

With `--half-real-time` a chunk takes twice as long to draw as it lasts.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from avatar_server import main, tiny

from models.generator import Generator
from streaming.live.playout import Playout, Shown

CHUNK_SECONDS = 12 / 25
_draw = Generator.draw
_redraw = Playout.redraw


def flashing(playout: Playout, frames: list[Shown]) -> None:
    sound = playout.film_sound
    assert sound is not None
    loud = [np.abs(sound.frame(frame.frame).astype(int)).max() > 3000 for frame in frames]
    _redraw(
        playout,
        [replace(f, picture=np.full_like(f.picture, 255 if on else 0)) for f, on in zip(frames, loud, strict=True)],
    )


def slow(*args: Any, **how: Any) -> Any:
    until = time.monotonic() + 2 * CHUNK_SECONDS
    latents = _draw(*args, **how)
    time.sleep(max(0, until - time.monotonic()))
    return latents


if __name__ == "__main__":
    if "--half-real-time" in sys.argv:
        sys.argv.remove("--half-real-time")
        Generator.draw = slow  # type: ignore[method-assign]
    Playout.redraw = flashing  # type: ignore[method-assign]
    tiny()
    main()
