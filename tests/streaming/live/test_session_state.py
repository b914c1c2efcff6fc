"""A session changes its state only along the allowed transitions."""

from __future__ import annotations

import pytest

from streaming.live.session_state import TRANSITIONS, SessionState, next_state


def test_a_transition_that_is_not_listed_is_refused() -> None:
    assert next_state(SessionState.LIVE, SessionState.PAUSED) is SessionState.PAUSED
    for now in SessionState:
        for then in set(SessionState) - TRANSITIONS[now]:
            with pytest.raises(ValueError, match=f"{now} cannot become {then}"):
                next_state(now, then)
