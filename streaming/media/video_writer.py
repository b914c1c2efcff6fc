"""Write fragmented MP4 in which a fragment depends only on its own frames, its number and its time.

The encoder is opened anew for every fragment and B-frames are off, so each fragment is a closed group of pictures: a
file that was interrupted and continued equals, byte for byte, a file that was written at once.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.checkpoints.synced_files import AppendedFile

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
        self.fragments, self.frames = fragments, frames
        self._waiting: list[Frames] = []
        self._file = AppendedFile(path, keep=offset)

    @property
    def offset(self) -> int:
        """Return where the last whole fragment ends, in bytes."""
        return self._file.size

    def add(self, frames: Frames) -> None:
        """Add frames [n, H, W, 3] RGB to the fragment that is open."""
        for frame in frames:
            if self.scale > 1:
                size = (frame.shape[1] * self.scale, frame.shape[0] * self.scale)
                frame = cv2.resize(frame, size, interpolation=cv2.INTER_LANCZOS4)
            self._waiting.append(np.ascontiguousarray(frame))

    def end_fragment(self) -> str:
        """Encode what waits and append it, synced; return its digest, or "" if nothing waited.

        OSError if the disk is full; the file then ends with the fragment before.
        """
        if not self._waiting:
            return ""
        init, fragment = encode_fragment(self._waiting, self.frames, self.fragments, self.fps)
        data = fragment if self.fragments else init + fragment
        self._file.append(data)
        self._file.sync()
        self.frames += len(self._waiting)
        self.fragments += 1
        self._waiting = []
        return digest_of(data)

    def close(self) -> None:
        """Close the file; frames that wait are dropped."""
        self._file.close()

    def __enter__(self) -> VideoWriter:
        """Return the writer, which is closed on leaving."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.end_fragment()
        finally:
            self.close()


def digest_of(data: bytes) -> str:
    """Return a name for exactly these bytes of a film: 32 hexadecimal digits (BLAKE2b, RFC 7693)."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
