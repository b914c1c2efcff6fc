"""Exchange commands and events with one viewer, over a WebRTC data channel or a WebSocket alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from streaming.live.session import Session
from streaming.transport.commands import ControlError, parse, permitted
from streaming.transport.events import Event, RefusedEvent

STATUS_EVERY = 0.5  # seconds


class ControlChannel:
    """Hand a viewer's commands to a session and send the session's events back, numbered from 1 in `n`."""

    def __init__(
        self,
        session: Session,
        controls: Callable[[], bool] | None,
        send: Callable[[str], None],
        first_pts: Callable[[], int | None] | None = None,
    ) -> None:
        """Send the session's events with `send`, as JSON, beginning with `hello` and `timeline`.

        `controls` says whether the viewer controls the session now (None: it only watches). With `first_pts` the status
        has the media time of the connection's first packet.
        """
        self._session, self._controls, self._send, self._first_pts = session, controls, send, first_pts
        self._sent = 0
        self._stop_listening = session.listen(self._tell)
        self._tell(session.hello(controls=controls is not None))
        self._tell(session.timeline())

    def receive(self, message: str | bytes) -> None:
        """Have the session obey a command, or send the reason why it does not."""
        try:
            command = parse(message)
            permitted(command, self._controls)
            self._session.obey(command)
        except ControlError as e:
            self._tell(RefusedEvent(id=e.number, why=str(e)))

    async def tell_status(self) -> None:
        """Send the status every STATUS_EVERY seconds until cancelled."""
        while True:
            status = self._session.status()
            if self._first_pts is not None:
                status = status.model_copy(update={"first_pts": self._first_pts()})
            self._tell(status)
            await asyncio.sleep(STATUS_EVERY)

    def close(self) -> None:
        """Send nothing more; safe to call again."""
        self._stop_listening()

    def _tell(self, event: Event) -> None:
        self._sent += 1
        self._send(json.dumps({"n": self._sent, **event.wire()}))
