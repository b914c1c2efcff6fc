"""Define the states of a session with their transitions, and the states of an avatar."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    """Name what a session is doing."""

    WARMING = "warming"  # the first chunk is being drawn
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"


class AvatarState(StrEnum):
    """Name what an avatar is doing, as its viewers are sent it."""

    IDLE = "idle"
    LISTENING = "listening"  # the microphone hears speech
    SPEAKING = "speaking"


TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.WARMING: frozenset({SessionState.LIVE, SessionState.ENDED, SessionState.FAILED}),
    SessionState.LIVE: frozenset({SessionState.PAUSED, SessionState.ENDED, SessionState.FAILED}),
    SessionState.PAUSED: frozenset({SessionState.LIVE, SessionState.ENDED, SessionState.FAILED}),
    SessionState.ENDED: frozenset(),
    SessionState.FAILED: frozenset({SessionState.ENDED}),
}


def next_state(now: SessionState, then: SessionState) -> SessionState:
    """Return `then` if a session in state `now` may enter it; ValueError names both states if not."""
    if then not in TRANSITIONS[now]:
        raise ValueError(f"a session that is {now} cannot become {then}")
    return then
