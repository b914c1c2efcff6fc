"""Decide when an interruption of an avatar means that chunks are drawn anew, and from which latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from models.time_grid import TimeGrid, latent_of
from streaming.speech.fullband import Samples

BARELY = 2  # frames left of a chunk that are too few to draw it anew


class GivenUpError(Exception):
    """End the drawing of a chunk whose content an interruption made useless."""


class DrawingInterruptions(Protocol):
    """Tell the drawing of chunks what interruptions ask of it."""

    @property
    def generation(self) -> int:
        """Return the number of interruptions that had sound to silence; a chunk of an earlier one is stale."""

    def take(self) -> int | None:
        """Return the frame from which to draw anew, once; None if there was no interruption since the last call."""

    def check(self) -> None:
        """Raise GivenUpError if the chunk being drawn is stale; called from the device thread."""

    def soonest(self, grid: TimeGrid, *, frame: int, next_frame: int, production: float, length: int) -> int:
        """Return the latent from which to draw anew, as `Interruptions.soonest` does."""


class Interruptions:
    """Count interruptions, and decide which of them require chunks to be drawn anew and from where.

    If nothing was said since the last interruption, the chunks being drawn are silent already and are not begun again.
    Otherwise a key that is held down would restart the drawing for ever, and no silent chunk would be finished.
    """

    def __init__(self) -> None:
        self.epoch = 0  # interruptions so far; a request from an earlier epoch is stale
        self.generation = 0  # interruptions that had sound to silence; a chunk of an earlier one is stale
        self._silent = True  # whether all chunks given sound since the newest of those were silent
        self._pending: int | None = None  # frame of the take from which to be silent; None once `take` has returned it

    def interrupt(self, frame: int) -> bool:
        """Interrupt before frame `frame` of the film, and return whether there is sound to silence."""
        self.epoch += 1
        if self._silent:
            return False
        self._silent = True
        self.cut(frame)
        return True

    def cut(self, frame: int) -> None:
        """Have chunks drawn anew with other sound from frame `frame` of the film on; what is before it is spoken."""
        self.generation += 1
        self._pending = frame if self._pending is None else min(frame, self._pending)

    def gave(self, sound: Samples) -> None:
        """Note the sound that the next chunk is given."""
        self._silent = self._silent and not sound.any()

    def take(self) -> int | None:
        """Return the frame from which to draw anew, once; None if there was no interruption since the last call."""
        frame, self._pending = self._pending, None
        return frame

    def check(self) -> None:
        """Raise GivenUpError if the chunk being drawn is stale; called from the device thread."""
        if self._pending is not None:
            raise GivenUpError

    @staticmethod
    def soonest(grid: TimeGrid, *, frame: int, next_frame: int, production: float, length: int) -> int:
        """Return the latent from which to draw anew: the start of the chunk that is on screen once it is drawn.

        An earlier chunk would be shown already by then, and a chunk that is nearly over leaves no time to draw the
        next one. Chunks before that of `frame`, from which the sound is another one, stay as they are. `production`
        frames play while a chunk is drawn; `length` latents of the take exist.
        """
        shown = max(frame, next_frame + round(production) + BARELY)
        return min(max(grid.first_chunk, grid.start(grid.number(latent_of(shown)))), length)


class JoinedInterruptions:
    """Join the interruptions of faces that are drawn in step: where one is silenced, all are drawn anew."""

    def __init__(self, faces: Sequence[Interruptions]) -> None:
        self._faces = faces

    @property
    def generation(self) -> int:
        """Return the number of interruptions that had sound to silence, of all faces."""
        return sum(face.generation for face in self._faces)

    def take(self) -> int | None:
        """Return the earliest frame from which a face is to be silent, once; None if no face was interrupted."""
        frames = [frame for face in self._faces if (frame := face.take()) is not None]
        return min(frames, default=None)

    def check(self) -> None:
        """Raise GivenUpError if the chunk being drawn is stale for one of the faces."""
        for face in self._faces:
            face.check()

    def soonest(self, grid: TimeGrid, *, frame: int, next_frame: int, production: float, length: int) -> int:
        """Return the latent from which to draw anew, as `Interruptions.soonest` does."""
        return Interruptions.soonest(grid, frame=frame, next_frame=next_frame, production=production, length=length)
