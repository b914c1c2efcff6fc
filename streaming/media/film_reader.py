"""Read a film's pictures at another frame rate and size, each by its time in the film."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from streaming.media.display_matrix import turn_of
from streaming.media.film_alpha import opaque
from streaming.media.film_pictures import FORMATS, FilmError, FilmPictures
from streaming.speech.format_name import HEAD, format_name

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB

SEEK_SECONDS = 5.0  # a jump further ahead is not decoded through
EARLIER_SECONDS = 10.0  # by which a jump is begun anew that led too far ahead
NEAR = 1e-3  # seconds by which a time may miss a picture, as containers round
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273, which a screen without HDR shows pale
WIDE = {9: "BT.2020", 11: "P3", 12: "P3"}  # colour primaries of ITU-T H.273, likewise


class FilmReader:
    """Give a film's pictures as a take shows them: `fps` a second, of one size, held where the film is slower."""

    def __init__(
        self, path: Path, size: tuple[int, int], fps: int, *, pad: bool = False, name: str | None = None
    ) -> None:
        """Open a film; pictures of another shape than `size` (width, height) are cropped, or with `pad` get bars.

        Errors call the film `name`, by default its path. FilmError if the file cannot be read, or holds no picture that
        can be decoded.
        """
        self.name, self._size, self._fps, self._pad = name or str(path), size, fps, pad
        try:
            self._file: BinaryIO = path.open("rb")
            kind = format_name(self._file.read(HEAD))
        except OSError as e:
            raise FilmError(f"{self.name}: {e.strerror}") from e
        if kind not in FORMATS:
            self._file.close()
            raise FilmError(f"{self.name}: not a film that can be read but {kind}; save it as MP4 or WebM")
        self._kind = kind
        self._pictures: Iterator[tuple[float, av.VideoFrame]] = iter(())
        self._shown: tuple[float, Frames] | None = None  # the newest picture up to the time asked for last
        self._next: tuple[float, av.VideoFrame] | None = None
        self.ended_at: float | None = None  # time of the last picture, once it was passed
        self.notes: list[str] = []  # one line each, for a person, on what is not shown as it is meant
        try:
            self._film = FilmPictures(self._file, kind, self.name, self._note)
            self._begin(0.0)
            if self._next is not None:
                self._look_at(self._next[1])
        except FilmError:
            self._file.close()
            raise

    def frames(self, first: int, count: int) -> Frames:
        """Return pictures `first` to `first + count` of the take's rate; behind the end the last one is held."""
        return np.stack([self._at(index / self._fps) for index in range(first, first + count)])

    def last(self, count: int) -> Frames:
        """Return the last pictures at the take's rate, at most `count`, the last one of the film at the end."""
        span = (count - 1) / self._fps
        end = self._end()
        first = max(0.0, end - span)
        wanted = [end - k / self._fps for k in range(count) if end - k / self._fps > first - NEAR]
        return np.stack([self._at(time) for time in reversed(wanted)])

    @property
    def begins(self) -> float:
        """Return the time of the first picture on the container's clock, which its sound shares, in seconds."""
        return self._film.begins or 0.0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _look_at(self, first: av.VideoFrame) -> None:
        """Note what the first picture tells; FilmError if it cannot be shown."""
        if transfer := HDR.get(int(first.color_trc)):
            self._note(f"a film in HDR ({transfer}), whose colours are pale here; convert it to SDR")
        elif gamut := WIDE.get(int(first.color_primaries)):
            self._note(f"a film in wide colours ({gamut}), which are pale here; convert it to BT.709")
        if first.interlaced_frame:
            self._note("an interlaced film, whose moving edges have combs; deinterlace it")
        self._fitted(first)

    def _note(self, what: str) -> None:
        note = f"{self.name}: {what}"
        if note not in self.notes:
            self.notes.append(note)

    def _end(self) -> float:
        """Return the time of the last picture, which is found by decoding the film's end."""
        for back in (10.0, 120.0, None):
            duration = self._film.duration
            begin = 0.0 if back is None or duration is None else max(0.0, duration - back)
            self._begin(begin)
            last = deque((time for time, _ in self._all()), maxlen=1)
            if last:
                self._begin(0.0)
                return last[0]
        raise FilmError(f"{self.name}: {self._kind} without a picture that can be decoded")

    def _at(self, time: float) -> Frames:
        if self._shown is not None and (time < self._shown[0] - NEAR or time > self._shown[0] + SEEK_SECONDS):
            self._begin(time)
        while self._next is not None and (self._shown is None or self._next[0] <= time + NEAR):
            at, picture = self._next
            self._next = next(self._pictures, None)
            if self._next is None:
                self.ended_at = at
            if self._shown is None or self._next is None or self._next[0] > time + NEAR:
                self._shown = at, self._fitted(picture)  # pictures that are passed over are not converted
            else:
                self._shown = at, self._shown[1]
        assert self._shown is not None, "a film that was opened has a picture"
        return self._shown[1]

    def _begin(self, time: float) -> None:
        """Have the pictures begin anew, at the last key picture at or before `time`."""
        self._shown = None
        for begin in (time, time - EARLIER_SECONDS, 0.0):  # a film without an index may be read from a later one on
            self._pictures = self._film.since(max(0.0, begin))
            self._next = next(self._pictures, None)
            if self._next is not None and self._next[0] <= time + NEAR:
                return
        if self._next is None:
            raise FilmError(f"{self.name}: {self._kind} without a picture that can be decoded")

    def _all(self) -> Iterator[tuple[float, av.VideoFrame]]:
        return itertools.chain([] if self._next is None else [self._next], self._pictures)

    def _fitted(self, picture: av.VideoFrame) -> Frames:
        """Return a picture [H, W, 3] RGB, upright and of the take's size."""
        try:
            turn = turn_of(picture)
        except ValueError as e:
            why = f"a film that is shown at a slant of {e}; save it upright, or turned by quarters"
            raise FilmError(f"{self.name}: {why}") from None
        frame, seen_through = opaque(picture)
        if seen_through:
            self._note("its transparent parts are laid on a light grey")
        pixel = 1 / self._film.pixel if turn.swapped else self._film.pixel
        return fitted(turn.applied(frame), self._size, pad=self._pad, pixel=pixel)


def fitted(frame: Frames, size: tuple[int, int], *, pad: bool = False, pixel: float = 1.0) -> Frames:
    """Return a picture [H, W, 3] of `size` (width, height): cropped around its middle, or with `pad` given bars.

    Its pixels are `pixel` times as wide as high; those of the result are square.
    """
    height, width = frame.shape[:2]
    wide = width * pixel
    scale = (min if pad else max)(size[0] / wide, size[1] / height)
    if not pad:
        across = max(1, min(width, round(size[0] / (scale * pixel))))
        down = max(1, min(height, round(size[1] / scale)))
        left, top = (width - across) // 2, (height - down) // 2
        frame, inner = frame[top : top + down, left : left + across], size
    else:
        inner = max(1, min(size[0], round(wide * scale))), max(1, min(size[1], round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4
    small = frame if (frame.shape[1], frame.shape[0]) == inner else cv2.resize(frame, inner, interpolation=how)
    return barred(cast("Frames", np.ascontiguousarray(small)), size)


def barred(frame: Frames, size: tuple[int, int]) -> Frames:
    """Return a picture [h, w, 3] in the middle of a black one of `size` (width, height), which is no smaller."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    out = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    out[top : top + height, left : left + width] = frame
    return out
