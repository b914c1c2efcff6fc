"""Bound the tracks of files within which tracks may appear."""

from __future__ import annotations

GROWING = ("an MPEG video", "an MPEG transport stream")
# PyAV (18.1, InputContainer.demux) allocates a byte for each track that it has found when it begins, and reads one for
# each that appears later: the smallest block of memory has room for so many on every platform of 64 bits
MOST_TRACKS = 24


def track_options(kind: str) -> dict[str, str]:
    """Return FFmpeg's options with which a file of a kind, as `format_name` names it, is opened."""
    return {"max_streams": str(MOST_TRACKS)} if kind in GROWING else {}
