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
from av.error import FFmpegError
from av.stream import Disposition
from numpy.typing import NDArray

from models.errors import UserError
from streaming.media.display_matrix import turn_of
from streaming.media.film_alpha import alpha_decoder, opaque
from streaming.speech.format_name import HEAD, format_name

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB

# what FFmpeg calls them; playlists and the like, which name other files, are not among them
FORMATS = {
    "an MP4 file": "mp4",
    "a Matroska or WebM video": "matroska",
    "an AVI video": "avi",
    "an MPEG video": "mpeg",
    "an MPEG transport stream": "mpegts",
    "a GIF picture": "gif",
}
MOST_PIXELS = 4096 * 2304  # of a picture
MOST_DAMAGED = 100  # packets that cannot be decoded, one behind the other, until a film counts as broken off
SEEK_SECONDS = 5.0  # a jump further ahead is not decoded through
NEAR = 1e-3  # seconds by which a time may miss a picture, as containers round
WIDEST = 8  # times as wide as high a pixel may be, or as high as wide; what says more is not believed
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273, which a screen without HDR shows pale
WIDE = {9: "BT.2020", 11: "P3", 12: "P3"}  # colour primaries of ITU-T H.273, likewise


class FilmError(UserError):
    """Report, in one line for a person, a film that cannot be read."""


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
        self._format, self._kind = FORMATS[kind], kind
        self._pictures: Iterator[tuple[float, av.VideoFrame]] = iter(())
        self._shown: tuple[float, Frames] | None = None  # the newest picture up to the time asked for last
        self._next: tuple[float, av.VideoFrame] | None = None
        self._duration: float | None = None  # in seconds, as the container has it
        self._delay: float | None = None  # in seconds, of the decoder of an AVI
        self._pixel = 1.0  # width of a pixel as a share of its height
        self.begins = 0.0  # time of the first picture on the container's clock, which its sound shares
        self.ended_at: float | None = None  # time of the last picture, once it was passed
        self.notes: list[str] = []  # one line each, for a person, on what is not shown as it is meant
        try:
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
            begin = 0.0 if back is None or self._duration is None else max(0.0, self._duration - back)
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
        self._pictures, self._shown = self._decoded(time), None
        self._next = next(self._pictures, None)
        if self._next is None and time > 0:
            self._pictures = self._decoded(0.0)
            self._next = next(self._pictures, None)
        if self._next is None:
            raise FilmError(f"{self.name}: {self._kind} without a picture that can be decoded")

    def _all(self) -> Iterator[tuple[float, av.VideoFrame]]:
        return itertools.chain([] if self._next is None else [self._next], self._pictures)

    def _decoded(self, time: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Yield pictures with their times, in seconds from the film's first one."""
        self._file.seek(0)
        try:
            with av.open(self._file, format=self._format) as container:
                stream = _moving(container)
                if stream is None:
                    return
                start = float((stream.start_time or 0) * (stream.time_base or 0))
                self._duration = None if container.duration is None else container.duration / av.time_base
                self._pixel, self.begins = _pixel_of(stream), start
                if time > 0 and stream.time_base:
                    container.seek(int((time + start) / stream.time_base), stream=stream)
                yield from self._of_packets(container, stream, start)
        except (FFmpegError, OSError) as e:
            raise FilmError(f"{self.name}: {self._kind} that breaks off or is damaged; save it anew") from e

    def _of_packets(
        self, container: av.container.InputContainer, stream: av.video.stream.VideoStream, start: float
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        damaged, latest = 0, -1.0
        decoder = alpha_decoder(stream) or stream.codec_context
        for packet in container.demux(stream):
            try:
                pictures = decoder.decode(packet)
            except FFmpegError:
                damaged += 1
                if damaged > MOST_DAMAGED:
                    return
                continue
            for picture in pictures:
                damaged = 0
                if picture.width * picture.height > MOST_PIXELS:
                    size = f"{picture.width}x{picture.height}"
                    raise FilmError(f"{self.name}: a film of {size} is too large; scale it down")
                time = self._time(picture, stream, start, latest)
                if time is not None and time > latest:
                    latest = time
                    yield max(0.0, latest), picture

    def _time(
        self, picture: av.VideoFrame, stream: av.video.stream.VideoStream, start: float, before: float
    ) -> float | None:
        """Return the time of a picture, in seconds from `start`; `before` is that of the one before it.

        AVI has times of decoding alone. Where pictures are stored in another order than they are shown, those times
        belong to pictures in the order in which the decoder gives them, and the last pictures have none.
        """
        if self._format != "avi":
            return None if picture.time is None else picture.time - start
        if picture.dts is None or not stream.time_base:
            step = 1 / float(stream.average_rate or self._fps)
            return max(before, -step) + step
        time = float(picture.dts * stream.time_base) - start
        self._delay = time if self._delay is None else self._delay  # of the decoder, at the film's first picture
        return time - self._delay

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
        pixel = 1 / self._pixel if turn.swapped else self._pixel
        return fitted(turn.applied(frame), self._size, pad=self._pad, pixel=pixel)


def _moving(container: av.container.InputContainer) -> av.video.stream.VideoStream | None:
    """Return the first track of pictures that is not the cover of a sound; None if there is none."""
    return next((s for s in container.streams.video if not s.disposition & Disposition.attached_pic), None)


def _pixel_of(stream: av.video.stream.VideoStream) -> float:
    """Return how wide a film's pixels are, as a share of their height; 1 where nothing, or nonsense, is said."""
    pixel = float(stream.sample_aspect_ratio or 1)
    return pixel if 1 / WIDEST <= pixel <= WIDEST else 1.0


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
