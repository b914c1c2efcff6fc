"""Exchange commands and events with one viewer, over a WebRTC data channel or a WebSocket alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from streaming.live.clock import MONOTONIC, Clock
from streaming.live.session import Session
from streaming.transport.commands import ControlError, parse, permitted
from streaming.transport.events import Event, RefusedEvent

STATUS_EVERY, SLOW_STATUS_EVERY = 0.5, 2.0  # seconds; the second on a slow line, of which a status takes 4 kbit
# messages a second, and how many at once; a viewer that only watches has no reason to send any
MOST_COMMANDS = (100, 300)
MOST_OF_WATCHER = (5, 20)
FAREWELL_SECONDS = 0.5  # for the line that says why a connection is closed


class MessageRate:
    """Allow so many messages a second, and a burst of them (a token bucket)."""

    def __init__(self, a_second: float, burst: int, clock: Clock) -> None:
        """Begin with the whole burst."""
        self._a_second, self._burst, self._clock = a_second, burst, clock
        self._left, self._at = float(burst), clock()

    def allows(self) -> bool:
        """Count one message; return whether it is within the rate."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._a_second) - 1
        self._at = now
        if self._left >= 0:
            return True
        self._left = 0.0
        return False


class ControlChannel:
    """Hand a viewer's commands to a session and send the session's events back, numbered from 1 in `n`."""

    def __init__(
        self,
        session: Session,
        controls: Callable[[], bool] | None,
        send: Callable[[str], None],
        first_pts: Callable[[], int | None] | None = None,
        *,
        clock: Clock = MONOTONIC,
    ) -> None:
        """Send the session's events with `send`, as JSON, beginning with `hello` and `timeline`.

        `controls` says whether the viewer controls the session now (None: it only watches). With `first_pts` the status
        has the media time of the connection's first packet.
        """
        self._session, self._controls, self._send, self._first_pts = session, controls, send, first_pts
        self._sent = 0
        self._rate = MessageRate(*(MOST_OF_WATCHER if controls is None else MOST_COMMANDS), clock)
        self.flooded = asyncio.Event()  # set when more messages came than are allowed: the connection should be closed
        self.slow = False  # whether the line is slow
        self._stop_listening = session.listen(self.tell)
        self.tell(session.hello(controls=controls is not None))
        self.tell(session.timeline())

    def receive(self, message: str | bytes) -> None:
        """Have the session obey a command, or send the reason why it does not.

        Beyond the allowed rate one refusal is sent, `flooded` is set, and nothing is read any more.
        """
        if self.flooded.is_set():
            return
        if not self._rate.allows():
            self.flooded.set()
            self.tell(RefusedEvent(id=None, why="too many messages; the connection is closed"))
            return
        try:
            command = parse(message)
            permitted(command, self._controls)
            self._session.obey(command)
        except ControlError as e:
            self.tell(RefusedEvent(id=e.number, why=str(e)))

    async def tell_status(self) -> None:
        """Send the status every STATUS_EVERY seconds, on a slow line less often, until cancelled."""
        while True:
            status = self._session.status()
            if self._first_pts is not None:
                status = status.model_copy(update={"first_pts": self._first_pts()})
            self.tell(status)
            await asyncio.sleep(SLOW_STATUS_EVERY if self.slow else STATUS_EVERY)

    def close(self) -> None:
        """Send nothing more; safe to call again."""
        self._stop_listening()

    def tell(self, event: Event) -> None:
        """Send an event to this viewer alone; the session's events are sent to all."""
        self._sent += 1
        self._send(json.dumps({"n": self._sent, **event.wire()}))
