"""Name the WHIP receiver of films; apart, as the command line reads it before anything heavy is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishTarget:
    """Name the receiver of films."""

    url: str  # `{session}` in it stands for a session's id
    token: str | None = None  # sent as a bearer token

    def of(self, session: str) -> str:
        """Return the address for the film of a session with this id."""
        return self.url.replace("{session}", session)
