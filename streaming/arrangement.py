"""Say how the pictures of takes that run in step become those of one film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streaming.media.video_writer import Frames


def _as_drawn(frames: Frames, first: int) -> Frames:
    return frames


@dataclass(frozen=True)
class Arrangement:
    """Say how many takes run in step and how their pictures, which stand side by side, become those of the film."""

    name: str | None = None  # of a render in another arrangement nothing is taken over
    faces: int = 1
    shown: Callable[[Frames, int], Frames] = _as_drawn
    """Turn frames [n, H, faces · W, 3] into those of the film; the second argument is the number of the first one."""


ONE_FACE = Arrangement()
