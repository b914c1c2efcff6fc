"""The phases of a session and the ways between them."""

from __future__ import annotations

from enum import StrEnum


class SessionState(StrEnum):
    """What a session is doing."""

    LOADING = "loading"  # the model is being read
    WARMING = "warming"  # the first chunk is being drawn
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"


TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    SessionState.LOADING: frozenset({SessionState.WARMING, SessionState.ENDED, SessionState.FAILED}),
    SessionState.WARMING: frozenset({SessionState.LIVE, SessionState.ENDED, SessionState.FAILED}),
    SessionState.LIVE: frozenset({SessionState.PAUSED, SessionState.ENDED, SessionState.FAILED}),
    SessionState.PAUSED: frozenset({SessionState.LIVE, SessionState.ENDED, SessionState.FAILED}),
    SessionState.ENDED: frozenset(),
    SessionState.FAILED: frozenset({SessionState.ENDED}),
}


def next_state(now: SessionState, then: SessionState) -> SessionState:
    """`then`, if there is a way to it; ValueError names both if not."""
    if then not in TRANSITIONS[now]:
        raise ValueError(f"a session that is {now} cannot become {then}")
    return then
