"""Run the server with the tiny avatar, whose picture is white in every frame with loud sound and black in others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from avatar_server import main, tiny

from streaming.live.playout import Playout, Shown

_redraw = Playout.redraw


def flashing(playout: Playout, frames: list[Shown]) -> None:
    sound = playout.film_sound
    assert sound is not None
    loud = [np.abs(sound.frame(frame.frame).astype(int)).max() > 3000 for frame in frames]
    _redraw(
        playout,
        [replace(f, picture=np.full_like(f.picture, 255 if on else 0)) for f, on in zip(frames, loud, strict=True)],
    )


if __name__ == "__main__":
    Playout.redraw = flashing  # type: ignore[method-assign]
    tiny()
    main()
