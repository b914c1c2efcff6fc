"""Write fragmented MP4 in which a fragment depends only on its own frames, its number and its time.

The encoder is opened anew for every fragment and B-frames are off, so each fragment is a closed group of pictures: a
file that was interrupted and continued equals, byte for byte, a file that was written at once.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB


def encode_fragment(frames: Sequence[Frames], first: int, number: int, fps: int) -> tuple[bytes, bytes]:
    """Return (the initialisation, which is the same for every fragment; moof + mdat of these frames).

    Frames are [H, W, 3] RGB, `first` is the number of the first one in the film, and `number` that of the fragment,
    both from 0.
    """
    buffer = io.BytesIO()
    height, width = frames[0].shape[:2]
    options = {"movflags": "empty_moov+default_base_moof+frag_custom", "fragment_index": str(number + 1)}
    with av.open(buffer, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1
        stream.options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "crf": "18",
            "bf": "0",
            "g": "100000",
            "x264-params": "scenecut=0",
        }
        for index, picture in enumerate(frames):
            # OpenCV converts, because the output of libswscale depends on how the picture lies in memory
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
        ticks = round(1 / stream.time_base / fps)
    init, fragment = _parts(buffer.getvalue())
    return init, _begun_at(fragment, first * ticks)


def _parts(data: bytes) -> tuple[bytes, bytes]:
    """Return (ftyp + moov, moof + mdat) of a film; the index at its end is left out."""
    init, fragment, at = b"", b"", 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in (b"ftyp", b"moov"):
            init += data[at : at + size]
        elif kind in (b"moof", b"mdat"):
            fragment += data[at : at + size]
        at += size
    return init, fragment


def _begun_at(fragment: bytes, ticks: int) -> bytes:
    """Return the fragment with its decode time set to `ticks`, as a new muxer begins at 0."""
    at = fragment.index(b"tfdt") + 4
    if fragment[at] != 1:
        raise ValueError("the muxer wrote a 32-bit decode time, with which a film cannot grow long")
    return fragment[: at + 4] + ticks.to_bytes(8, "big") + fragment[at + 12 :]


class VideoWriter:
    """Append fragments to a file; `offset` is the byte at which the last whole fragment ends."""

    def __init__(
        self, path: Path, fps: int, *, scale: int = 1, offset: int = 0, fragments: int = 0, frames: int = 0
    ) -> None:
        """Begin a file, or truncate one at `offset` and go on after so many fragments and frames.

        `fps` is in frames a second, and pictures are enlarged by the whole factor `scale`.
        """
        self.fps, self.scale = fps, scale
        self.offset, self.fragments, self.frames = offset, fragments, frames
        self._waiting: list[Frames] = []
        self._file = path.open("r+b" if offset else "wb")
        self._file.seek(offset)
        self._file.truncate()

    def add(self, frames: Frames) -> None:
        """Add frames [n, H, W, 3] RGB to the fragment that is open."""
        for frame in frames:
            if self.scale > 1:
                size = (frame.shape[1] * self.scale, frame.shape[0] * self.scale)
                frame = cv2.resize(frame, size, interpolation=cv2.INTER_LANCZOS4)
            self._waiting.append(np.ascontiguousarray(frame))

    def end_fragment(self) -> None:
        """Encode the open fragment and append it to the file; OSError if the disk is full."""
        if not self._waiting:
            return
        init, fragment = encode_fragment(self._waiting, self.frames, self.fragments, self.fps)
        self._file.write(fragment if self.fragments else init + fragment)
        self._file.flush()
        self.offset = self._file.tell()
        self.frames += len(self._waiting)
        self.fragments += 1
        self._waiting = []

    def close(self) -> None:
        """Close the file; the open fragment is not written."""
        self._file.close()

    def __enter__(self) -> VideoWriter:
        """Return the writer, which is closed on leaving."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the open fragment, unless there was an error, and close the file."""
        if error is None:
            self.end_fragment()
        self.close()
