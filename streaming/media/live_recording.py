"""Record a stream: its own packets as fragmented MP4, in a file that plays however it ends.

Before every fragment stands a mark: a `skip` box, which players pass over (ISO/IEC 14496-12, 8.1.2), with a digest of
what it marks. After a power cut it tells which fragments reached the disk as they were written.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av

from models.checkpoints.synced_files import AppendedFile
from models.errors import UserError
from streaming.live.pacing import TICKS
from streaming.media.fmp4 import Fmp4Muxer

BACKLOG = 10 * TICKS  # of media time that may wait for the disk
MARK = b"skip"
DIGEST_BYTES = 16


class RecordingError(UserError):
    """Report a recording that had to stop."""


class LiveRecording:
    """Write a stream's packets to a file from the next keyframe on, in a thread, so that a slow disk only queues."""

    def __init__(self, path: Path, width: int, height: int, fps: int, *, sound: bool = False) -> None:
        """Write to `path` encoded pictures of this size in pixels, `fps` a second, with `sound` if there is."""
        self.path = path
        self._size, self._fps, self._sound = (width, height), fps, sound
        self._muxer: Fmp4Muxer | None = None
        self._packets: asyncio.Queue[tuple[av.Packet, bool] | None] = asyncio.Queue()  # and whether it is sound
        self._first = self._newest = self._written = 0  # pts; the recording begins at 0 whenever the stream began
        self._ended = False

    @property
    def waiting(self) -> bool:
        """Return whether the recording needs a keyframe to begin with."""
        return self._muxer is None and not self._ended

    @property
    def seconds(self) -> float:
        """Return the seconds of video so far."""
        return (self._newest - self._first) / TICKS

    def offer(self, packet: av.Packet) -> None:
        """Take the next packet of the stream; those before the first keyframe are passed over."""
        if self._ended or (self._muxer is None and not packet.is_keyframe):
            return
        if self._muxer is None:
            self._first = self._written = packet.pts
            self._muxer = Fmp4Muxer(*self._size, self._fps, origin=packet.pts, sound=self._sound)
        self._newest = packet.pts
        self._packets.put_nowait((packet, False))

    def offer_sound(self, packet: av.Packet) -> None:
        """Take the next packet of the stream's sound."""
        if self._muxer is not None and not self._ended:
            self._packets.put_nowait((packet, True))

    def end(self) -> None:
        """Write what waits and close the file; `run` then returns."""
        if not self._ended:
            self._ended = True
            self._packets.put_nowait(None)

    async def run(self) -> None:
        """Write until the end; RecordingError if the disk does not take it. The file holds whole fragments."""
        try:
            file = await asyncio.to_thread(AppendedFile, self.path)
        except OSError as e:
            raise _stopped(e) from e
        try:
            await self._write_to(file)
        except OSError as e:
            raise _stopped(e) from e
        finally:
            self._ended = True
            file.close()

    async def _write_to(self, file: AppendedFile) -> None:
        while True:
            packet, is_sound = await self._packets.get() or (None, False)
            if self._newest - self._written > BACKLOG:
                raise RecordingError("the recording stopped: the disk is too slow for it; what is written plays")
            if self._muxer is None:  # it ended before a keyframe came
                return
            if packet is not None and is_sound:
                self._muxer.add_sound(packet)
                continue
            fragment = self._muxer.flush() if packet is None else self._muxer.add(packet)
            if fragment is not None:
                init = b"" if file.size else self._muxer.init
                data = init + _mark(init + fragment.data) + fragment.data
                # behind a slow disk, fragments that wait are written first and synced together
                await asyncio.to_thread(_append, file, data, sync=self._packets.empty() or packet is None)
            if packet is None:
                return
            self._written = packet.pts


def _stopped(error: OSError) -> RecordingError:
    why = error.strerror or error
    return RecordingError(f"the recording stopped: {why}; what is written plays, free some space and record again")


def _append(file: AppendedFile, data: bytes, *, sync: bool) -> None:
    """Append a fragment, all of it or nothing, and bring it to the disk."""
    file.append(data)
    if sync:
        file.sync()


def _mark(data: bytes) -> bytes:
    """Return the box that stands before a fragment: a digest of it, and of the initialisation before the first."""
    digest = hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
    return (8 + len(digest)).to_bytes(4, "big") + MARK + digest


def whole_bytes(path: Path) -> int:
    """Return where the last whole fragment of a file ends: what plays while it is written, or after a kill."""
    end = 0
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, begin, length in _boxes(file, size):
            if kind in (b"moov", b"mdat"):
                end = begin + length
    return end


def intact_bytes(path: Path) -> int:
    """Return where the last fragment of a recording ends that is as it was written, after a power cut.

    A recording of an earlier release has no marks: of it, what `whole_bytes` says.
    """
    end, mark = 0, slice(0, 0)  # of what is intact, and where behind that the newest mark stands
    marked = False
    size = path.stat().st_size
    with path.open("rb") as file:
        for kind, begin, length in _boxes(file, size):
            if kind == MARK:
                mark, marked = slice(begin - end, begin - end + length), True
            elif kind == b"mdat" and marked:
                file.seek(end)
                data = file.read(begin + length - end)
                if _mark(data[: mark.start] + data[mark.stop :]) != data[mark]:
                    return end
                end, mark = begin + length, slice(0, 0)
    return end if marked else whole_bytes(path)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, place and length of the whole boxes of a file of `size` bytes, up to the first that is none."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[:4], "big")
        if length < 8 or at + length > size:
            return
        yield head[4:], at, length
        at += length
