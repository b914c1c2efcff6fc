"""Hold the requests for a session that wait in line, by their tickets in order of arrival.

A place is lost if its ticket is not shown for a while, or has been shown for too long without a start. The places of
one asker are bounded, so that nobody can keep the others out by asking again and again.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from models.errors import ErrorKind, UserError

TICKET_LIFE = 10.0  # seconds after its last request in which a ticket keeps its place in line
LONGEST_WAIT = 1800.0  # seconds after its first request in which a ticket keeps its place in line
MOST_PLACES = 4  # in line, of one asker
MOST_WAITING = 100  # in line, of all


class CrowdedLineError(UserError):
    """Report that no further request of an asker, or of anybody, may wait in line."""

    kind = ErrorKind.BUSY


@dataclass
class Waiting:
    """Hold a place in line, with times in seconds."""

    since: float  # when it was first asked for
    asked: float  # when it was last asked for
    expected: float  # predicted real-time factor
    askers: frozenset[str]
    passed: int = 0  # later requests that were admitted before it


class WaitingLine:
    """Keep places in the order in which they were asked for; the caller has the clock."""

    def __init__(self) -> None:
        self._places: dict[str, Waiting] = {}  # by ticket

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._places)

    def __contains__(self, ticket: object) -> bool:
        """Return whether a ticket has a place."""
        return ticket in self._places

    def forget_lapsed(self, now: float) -> None:
        """Drop the places whose tickets were not shown for TICKET_LIFE, or for the first time before LONGEST_WAIT."""
        kept = {t: w for t, w in self._places.items() if now - w.asked < TICKET_LIFE and now - w.since < LONGEST_WAIT}
        self._places = kept

    def ahead_of(self, ticket: str | None) -> list[Waiting]:
        """Return those before a ticket, which are all for one that has no place."""
        tickets = list(self._places)
        return [self._places[t] for t in tickets[: tickets.index(ticket) if ticket in self._places else None]]

    def leave(self, ticket: str) -> None:
        """Give up the place of a ticket that has one."""
        del self._places[ticket]

    def stand(self, ticket: str | None, expected: float, askers: Collection[str], now: float) -> tuple[str, int]:
        """Keep the place of a ticket, or take one at the end of the line; return its ticket and its place, from 1.

        `askers` are the names under which whoever asks is known, such as an address; a name has MOST_PLACES places.
        CrowdedLineError if there is no further place.
        """
        if ticket is None or ticket not in self._places:
            self._require_room(askers)
            ticket = secrets.token_urlsafe(12)
            self._places[ticket] = Waiting(now, now, expected, frozenset(askers))
        place = self._places[ticket]
        place.asked, place.expected = now, expected
        return ticket, list(self._places).index(ticket) + 1

    def _require_room(self, askers: Collection[str]) -> None:
        if any(sum(name in w.askers for w in self._places.values()) >= MOST_PLACES for name in askers):
            raise CrowdedLineError(f"{MOST_PLACES} of your requests wait in line, the most at a time; try again later")
        if len(self._places) >= MOST_WAITING:
            raise CrowdedLineError(f"{MOST_WAITING} requests wait in line, the most at a time; try again later")
