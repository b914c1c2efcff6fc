"""Send files that may grow or shrink meanwhile, with exactly the length that the HTTP header states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fastapi.responses import StreamingResponse

from streaming.media.live_recording import whole_bytes
from streaming.speech import soundtrack

BLOCK = 1 << 18  # bytes sent at a time


def film_so_far(path: Path) -> StreamingResponse:
    """Return a download of an MP4 recording up to its last whole fragment."""
    return _beginning(path, whole_bytes(path), "video/mp4")


def wav_so_far(path: Path) -> StreamingResponse:
    """Return a download of a WAV file up to the last sample that its header counts now."""
    with path.open("rb") as file:
        head = file.read(soundtrack.HEADER)
    return _beginning(path, soundtrack.whole_bytes(head, path.stat().st_size), "audio/wav", head)


def _beginning(path: Path, size: int, media_type: str, head: bytes = b"") -> StreamingResponse:
    """Return a download of `size` bytes of a file, beginning with `head`, which may have changed in the file since.

    If the file becomes shorter meanwhile, as an interrupted sound does, zeros (silence) are sent for the rest.
    """

    def blocks() -> Iterator[bytes]:
        yield head
        left = size - len(head)
        with path.open("rb") as file:
            file.seek(len(head))
            while left:
                block = file.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
                left -= len(block)
                yield block

    headers = {"Content-Length": str(size), "Content-Disposition": f'attachment; filename="{path.name}"'}
    return StreamingResponse(blocks(), media_type=media_type, headers=headers)
