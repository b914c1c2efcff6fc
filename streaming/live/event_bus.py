"""Publish a session's events to its listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streaming.transport.events import Event

log = logging.getLogger(__name__)

Listener = Callable[[Event], None]


class EventBus:
    """Call every listener with every event, in the order in which events are published and listeners subscribed."""

    def __init__(self) -> None:
        """Begin without listeners."""
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event from now on; the returned function ends that and may be called again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def publish(self, event: Event) -> None:
        """Call all listeners. An error of one is logged: a broken connection must not stop the film of the others."""
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on the event %s", event.type)

    def close(self) -> None:
        """Forget all listeners."""
        self._listeners.clear()
