"""Run the command line with the tiny avatar, whose faces in a dialogue are plain: red, then green, then blue."""

from __future__ import annotations

from dataclasses import replace

import avatar_server
import numpy as np

from app.cli import main
from streaming.live.playout import Shown
from streaming.speech.joined_sound import JoinedSound

COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))
_in_film = JoinedSound.in_film


def in_film(sound: JoinedSound, frames: list[Shown], first: int) -> list[Shown]:
    """Number the frames of a chunk after each face was painted over."""
    return _in_film(sound, [replace(frame, picture=painted(frame.picture)) for frame in frames], first)


def painted(picture: np.ndarray) -> np.ndarray:
    """Return squares that stand side by side, [H, faces · H, 3], each in its colour."""
    height, width, _ = picture.shape
    row = np.repeat(np.array(COLOURS[: width // height], np.uint8), height, axis=0)
    return np.broadcast_to(row, (height, *row.shape)).copy()


if __name__ == "__main__":
    avatar_server.tiny()
    JoinedSound.in_film = in_film  # type: ignore[method-assign]
    main()
