"""Give each face of a live dialogue its own view of the playout that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streaming.live.playout import FilmSound, Playout, Shown
from streaming.speech.fullband import FRAME
from streaming.speech.voice_gain import VoiceGain


class AvatarPlayout(Protocol):
    """Play what an avatar says: a `Playout`, or the part of one that belongs to a face."""

    film_sound: FilmSound | None

    @property
    def voice_gain(self) -> VoiceGain:
        """Return what makes the voice quieter while a listener speaks."""

    @property
    def released(self) -> int:
        """Return how many frames were released so far."""

    @property
    def next_frame(self) -> int:
        """Return the number in the film of the frame that follows the one on screen."""

    @property
    def sounded(self) -> int:
        """Return the sample of the film up to which its sound has left, or will leave whatever is hushed now."""

    @property
    def held(self) -> int:
        """Return for how many frames the picture stood still."""

    @property
    def dropped(self) -> int:
        """Return how many pictures came too late."""

    @property
    def audible(self) -> bool:
        """Return whether sound follows that was handed over already."""

    def hush(self) -> None:
        """Silence the film from now on, or from the next frame; the pictures that wait are still shown."""

    def watch(self, watcher: Callable[[Shown, int], None]) -> None:
        """Call `watcher` with every frame after it was sent, and with its number among the released frames."""


class FacePlayout:
    """Play one face of a film: its part of the picture with its own sound."""

    def __init__(self, playout: Playout, *, leads: bool) -> None:
        """View a playout; the face that `leads` has the microphone, and makes the voices of all quieter."""
        self._playout = playout
        self.film_sound: FilmSound | None = None
        self.voice_gain = playout.voice_gain if leads else VoiceGain()
        self._watchers: list[Callable[[Shown, int], None]] = []

    @property
    def released(self) -> int:
        """Return how many frames were released so far."""
        return self._playout.released

    @property
    def next_frame(self) -> int:
        """Return the number in the film of the frame that follows the one on screen."""
        return self._playout.next_frame

    @property
    def sounded(self) -> int:
        """Return the sample behind the newest frame: the second half of it is the sound of all faces, and leaves."""
        return FRAME * self.next_frame

    @property
    def held(self) -> int:
        """Return for how many frames the picture stood still."""
        return self._playout.held

    @property
    def dropped(self) -> int:
        """Return how many pictures came too late."""
        return self._playout.dropped

    @property
    def audible(self) -> bool:
        """Return whether sound of the face follows that was handed over already."""
        return self.film_sound is not None and self.film_sound.audible(self.next_frame)

    def hush(self) -> None:
        """Silence the face from the next frame on; other faces go on."""
        if self.film_sound is not None:
            self.film_sound.hush()

    def watch(self, watcher: Callable[[Shown, int], None]) -> None:
        """Call `watcher` with every frame of the face after it was sent, and with its number among the released."""
        self._watchers.append(watcher)

    def show(self, shown: Shown, number: int) -> None:
        """Tell the watchers of a frame that was sent, with the face's part of the picture and its own sound."""
        for watcher in self._watchers:
            watcher(shown, number)
