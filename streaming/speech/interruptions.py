"""When a film is drawn anew: an avatar was interrupted, and what it was about to say is not wanted any more."""

from __future__ import annotations

from models.time_grid import TimeGrid, latent_of
from streaming.speech.soundtrack import Samples

BARELY = 2  # frames that are not worth a chunk of their own


class GivenUpError(Exception):
    """Ends a chunk that is being drawn, as what it was to show is no longer wanted."""


class Interruptions:
    """Counts interruptions, and decides which of them call for drawing anew and from where.

    Where nothing was said since the last interruption, what is drawn is that silence already: to begin it anew each
    time, as a key that is held down would have it, would never show it.
    """

    def __init__(self) -> None:
        self.epoch = 0  # interruptions so far: what was asked for in another epoch is stale
        self.generation = 0  # interruptions that had something to silence: what was drawn in another one is stale
        self._silent = True  # nothing but silence is being drawn, or is about to be, since the newest of those
        self._pending: int | None = None  # frame of the take

    def interrupt(self, frame: int) -> bool:
        """Interrupt before the take's frame `frame`; returns whether there is something to silence."""
        self.epoch += 1
        if self._silent:
            return False
        self._silent = True
        self.generation += 1
        self._pending = frame if self._pending is None else self._pending
        return True

    def gave(self, sound: Samples) -> None:
        """Note the sound that the next chunk hears."""
        self._silent = self._silent and not sound.any()

    def take(self) -> int | None:
        """Return the frame from which to draw anew, once; None if there was no interruption since."""
        frame, self._pending = self._pending, None
        return frame

    def check(self) -> None:
        """Raise GivenUpError if the chunk that is being drawn is not wanted any more; asked from the device thread."""
        if self._pending is not None:
            raise GivenUpError

    @staticmethod
    def soonest(grid: TimeGrid, *, next_frame: int, production: float, length: int) -> int:
        """Return the latent from which to draw anew: of the chunk that is on screen once it is drawn.

        A chunk that was shown by then would be drawn for nobody, and one that is nearly over leaves no time for the
        next. `production` frames play while a chunk is made, `length` latents are drawn.
        """
        shown = next_frame + round(production) + BARELY
        return min(max(grid.first_chunk, grid.start(grid.number(latent_of(shown)))), length)
