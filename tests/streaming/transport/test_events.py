"""Events are sent as the JSON objects that pages have read since the first version."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from streaming.live.session_state import AvatarState, SessionState
from streaming.take.take_file import CueLine
from streaming.transport.events import (
    EVENTS,
    Event,
    LiveEvent,
    MetersEvent,
    PhaseEvent,
    RecordingEvent,
    RefusedEvent,
    TimelineEvent,
)

WIRE: list[tuple[Event, dict[str, object]]] = [
    (LiveEvent(id=7, latent=12, frame=50), {"type": "live", "id": 7, "latent": 12, "frame": 50}),
    (RefusedEvent(id=None, why="no"), {"type": "refused", "id": None, "why": "no"}),
    (RecordingEvent(name="a-1", on=True), {"type": "recording", "name": "a-1", "on": True}),
    (RecordingEvent(name="a-1", on=False, why=""), {"type": "recording", "name": "a-1", "on": False, "why": ""}),
    (PhaseEvent(phase=SessionState.LIVE, why=""), {"type": "phase", "phase": "live", "why": ""}),
    (
        MetersEvent(identity=1.0, sync=None, lag_ms=None),
        {"type": "meters", "identity": 1.0, "sync": None, "lag_ms": None},
    ),
    (
        TimelineEvent(take="0123456789ab", parent=None, cues=[CueLine(prompt="a", blend=1, cut=True, landed=3)]),
        {
            "type": "timeline",
            "take": "0123456789ab",
            "parent": None,
            "cues": [{"prompt": "a", "cut": True, "landed": 3}],
        },
    ),
]


@pytest.mark.parametrize(("event", "wire"), WIRE, ids=lambda x: x.type if not isinstance(x, dict) else "")
def test_an_event_is_sent_with_the_fields_that_were_set(event: Event, wire: dict[str, object]) -> None:
    assert event.wire() == wire
    assert EVENTS.validate_json(json.dumps(wire)).wire() == wire


def test_an_undocumented_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        EVENTS.validate_python({"type": "avatar", "state": AvatarState.IDLE, "mood": "good"})
