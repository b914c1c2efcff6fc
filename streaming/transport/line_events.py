"""Tell a viewer's page how its film follows its line."""

from __future__ import annotations

from collections.abc import Callable

from streaming.media.broadcast import Viewer
from streaming.media.line_estimate import LineEstimate
from streaming.transport.events import LineEvent, LineState

TELL_EVERY = 2.0  # seconds between two events of one state
KEYFRAMES = 1 / 3  # a second, about, of which a film of keyframes alone consists


class LineEvents:
    """Send the events of one viewer's line: at once when its state changes, else every TELL_EVERY seconds."""

    def __init__(self, viewer: Viewer, fps: int, tell: Callable[[LineEvent], None]) -> None:
        """Call `tell` with events on a film of `fps` frames a second, as `viewer` receives it."""
        self.tell = tell
        self._viewer, self._fps = viewer, fps
        self._told: LineEvent | None = None
        self._told_at = 0.0

    def update(self, estimate: LineEstimate, now: float) -> None:
        """Tell what is sent on the line now, if it is something new."""
        event, told = self._event(estimate), self._told
        if told is not None and (event == told or (event.state == told.state and now - self._told_at < TELL_EVERY)):
            return
        self._told, self._told_at = event, now
        self.tell(event)

    def _event(self, estimate: LineEstimate) -> LineEvent:
        state = self._state()
        if state == "lost":
            fps = 0.0
        elif state == "keyframes":
            fps = KEYFRAMES
        else:
            fps = self._fps / self._viewer.source.every
        kbit = None if estimate.rate is None else round(estimate.rate / 1000)
        return LineEvent(state=state, kbit=kbit, loss=round(100 * estimate.loss), fps=round(fps, 1))

    def _state(self) -> LineState:
        if self._viewer.held:
            return "lost"
        if self._viewer.sparse:
            return "keyframes"
        if self._viewer.source.every > 1:
            return "thinned"
        return "clear" if self._viewer.line is None else "reduced"
