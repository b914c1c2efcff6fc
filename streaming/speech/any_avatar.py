"""Name what speaks in a session: one avatar, or several in a dialogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from streaming.live.clock import Clock
from streaming.live.playout import Playout
from streaming.speech.avatar import Avatar
from streaming.speech.live_dialogue import LiveDialogue
from streaming.transport.events import Event

AnyAvatar = Avatar | LiveDialogue


class AvatarMaker(Protocol):
    """Make the avatar of a session from the parts of the session, as `functools.partial(Avatar, ...)` does."""

    def __call__(
        self,
        *,
        playout: Playout,
        tell: Callable[[Event], None],
        wake: Callable[[], None],
        clock: Clock,
    ) -> AnyAvatar:
        """Return the avatar; the arguments are those of `Avatar`."""
