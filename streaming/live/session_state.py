"""The phases of a session and the ways between them."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """What a session is doing."""

    LOADING = "loading"  # the model is being read
    WARMING = "warming"  # the first chunk is being drawn
    LIVE = "live"
    PAUSED = "paused"
    ENDED = "ended"
    FAILED = "failed"


WAYS: dict[Phase, frozenset[Phase]] = {
    Phase.LOADING: frozenset({Phase.WARMING, Phase.ENDED, Phase.FAILED}),
    Phase.WARMING: frozenset({Phase.LIVE, Phase.ENDED, Phase.FAILED}),
    Phase.LIVE: frozenset({Phase.PAUSED, Phase.ENDED, Phase.FAILED}),
    Phase.PAUSED: frozenset({Phase.LIVE, Phase.ENDED, Phase.FAILED}),
    Phase.ENDED: frozenset(),
    Phase.FAILED: frozenset({Phase.ENDED}),
}


def onward(now: Phase, then: Phase) -> Phase:
    """`then`, if there is a way to it; ValueError names both if not."""
    if then not in WAYS[now]:
        raise ValueError(f"a session that is {now} cannot become {then}")
    return then
