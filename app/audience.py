"""Bound the number of viewers by share link, by session and by server, over WebRTC and WebSockets together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException

from app.share_links import EXPIRED, REVOKED, ShareLink

MOST_OF_SESSION = 50  # viewers
MOST_OF_SERVER = 200  # viewers of all sessions
KEPT_FOR_KEYS = 10  # further connections, of a session and of the server, for those that send the session's key
REPLACED = "this viewer has connected anew"
RETRY_AFTER = "10"  # seconds: a viewer that vanishes is counted until its connection is found to be dead


class AudienceFullError(HTTPException):
    """Refuse a viewer beyond the most of a link, a session or the server (503)."""

    def __init__(self, reason: str) -> None:
        """Create the error with a line for a person."""
        super().__init__(503, reason, {"Retry-After": RETRY_AFTER})


@dataclass(eq=False)
class Viewing:
    """Hold what is known of one viewer's connection."""

    session: str
    link: int | None  # number of the share link
    viewer: str | None
    leave: Callable[[str], None]
    end: asyncio.TimerHandle | None = None


class Audience:
    """Count the connections of viewers; methods must be called in the event loop."""

    def __init__(self) -> None:
        """Begin without viewers."""
        self._viewings: set[Viewing] = set()

    def add(
        self,
        session: str,
        leave: Callable[[str], None],
        *,
        controls: bool = False,
        viewer: str | None = None,
        link: ShareLink | None = None,
        seconds: float | None = None,
    ) -> Viewing:
        """Count a connection; AudienceFullError if the link, the session or the server has its most viewers already.

        `leave` is called with a line for a person to end the connection: after `seconds`, when its link is revoked, or
        when the same `viewer`, a random text of its own choice, connects anew. `controls` says whether it sent the
        session's key.
        """
        former = [s for s in self._viewings if viewer is not None and (s.session, s.viewer) == (session, viewer)]
        others = self._viewings.difference(former)
        more = KEPT_FOR_KEYS if controls else 0
        if link is not None and sum(s.link == link.number for s in others) >= link.viewers:
            raise AudienceFullError(
                f"this share link is full: {link.viewers} of {link.viewers} viewers are watching; try again later"
            )
        if sum(s.session == session for s in others) >= MOST_OF_SESSION + more:
            raise AudienceFullError(f"this session has {MOST_OF_SESSION} viewers, the most at a time; try again later")
        if len(others) >= MOST_OF_SERVER + more:
            raise AudienceFullError(f"this server has {MOST_OF_SERVER} viewers, the most at a time; try again later")
        for viewing in former:
            viewing.leave(REPLACED)
            self.remove(viewing)
        viewing = Viewing(session, link.number if link is not None else None, viewer, leave)
        if seconds is not None:
            viewing.end = asyncio.get_running_loop().call_later(seconds, leave, EXPIRED)
        self._viewings.add(viewing)
        return viewing

    def remove(self, viewing: Viewing) -> None:
        """Stop counting a connection; safe to call again."""
        self._viewings.discard(viewing)
        if viewing.end is not None:
            viewing.end.cancel()

    def watching(self, link: ShareLink) -> int:
        """Return the number of a link's viewers."""
        return sum(viewing.link == link.number for viewing in self._viewings)

    def dismiss(self, number: int) -> None:
        """End the connections of the viewers of the link with this number, which was revoked."""
        for viewing in [s for s in self._viewings if s.link == number]:
            viewing.leave(REVOKED)
