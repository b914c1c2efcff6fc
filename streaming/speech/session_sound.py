"""Define what the sound of a session is to the drawing of its chunks and to its files: of one face, or of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from streaming.live.playout import Shown
from streaming.rollout import DriveSource
from streaming.take.take_file import CueLine


class SessionSound(Protocol):
    """Drive chunks with sound, and arrange their frames. `LiveSound` and `JoinedSound` say what each method does."""

    failed: Callable[[OSError], None]
    """Called when the sound's files cannot grow."""

    def new_drive(self) -> DriveSource:
        """Return the drive source of a rollout that begins at the take's start."""

    def keep(self, take: str, beside: Callable[[str], Path]) -> dict[str, object]:
        """Write portraits and sounds beside a take from now on; return the take's fields that name them."""

    async def wait(self, first: int, wanted: Callable[[], bool]) -> None:
        """Wait a moment, while `wanted()`, for the sound of the chunk at latent `first` that is about to arrive."""

    def longest_hold(self, first: int) -> int | None:
        """Return for how many frames at most the picture may be held before a chunk; None: any."""

    def give(self, first: int, hold: int = 0) -> None:
        """Let the chunk at latent `first` hear what it needs; the picture is held for `hold` frames before it."""

    def silence(self, frame: int, at: int, following: int) -> None:
        """Take back sound after frame `frame` of the film, except what chunks before latent `at` have heard."""

    def hush_cues(self, frame: int, at: int, earlier: Sequence[CueLine]) -> list[CueLine]:
        """Return the cues that mark sound after frame `frame`, which the chunks before latent `at` have heard."""

    def held(self, latent: int) -> int:
        """Return for how many frames the picture was held before the chunk of a latent, from the take's start on."""

    def in_film(self, frames: list[Shown], first: int) -> list[Shown]:
        """Return the frames of the chunk at latent `first` as they stand in the film, with their numbers there."""

    def close(self) -> None:
        """Close the sound's files."""
