"""Write films for tests."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray


def film(path: Path, *, frames: int, fps: int, size: int = 32, sound: bool = False, late: float = 0.0) -> None:
    """Write a film whose picture number i is grey of value 2i, with a tone of its length if it has sound.

    It is in MPEG-2 if its suffix is .mpg, and in H.264 otherwise. The tone begins `late` seconds behind the picture.
    """
    with av.open(str(path), "w") as container:
        old = path.suffix == ".mpg"
        stream = container.add_stream("mpeg2video" if old else "libx264", rate=fps)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.options = {} if old else {"crf": "4"}
        voice = container.add_stream("mp2" if old else "aac", rate=16000, layout="mono") if sound else None
        for number in range(frames):
            picture = np.full((size, size, 3), min(255, 2 * number), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
        if voice is not None:
            tone = np.sin(2 * np.pi * 440 * np.arange(16000 * frames // fps) / 16000)
            samples = (32767 * tone[None]).astype(np.int16) if old else tone[None].astype(np.float32)
            heard = av.AudioFrame.from_ndarray(samples, format="s16" if old else "fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = 16000, round(16000 * late), Fraction(1, 16000)
            container.mux(voice.encode(heard))
            container.mux(voice.encode(None))


def drawn_film(
    path: Path,
    picture: Callable[[int], NDArray[np.uint8]],
    frames: int,
    *,
    reordered: bool = False,
    pixel: Fraction | None = None,
    transfer: int | None = None,
    primaries: int | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    title: str = "",
    index_first: bool = False,
) -> None:
    """Write a film, 16 pictures [H, W, 3 or 4] a second; in H.264 unless another codec is named.

    They may be stored `reordered`, have pixels that are `pixel` times as wide as high, a transfer characteristic,
    primaries, a title, and in an MP4 their index before them.
    """
    with av.open(str(path), "w", options={"movflags": "faststart"} if index_first else {}) as container:
        container.metadata["title"] = title
        stream = container.add_stream(codec, rate=16)
        stream.height, stream.width = picture(0).shape[:2]
        stream.pix_fmt = pixels  # type: ignore[assignment]
        stream.options = dict(options or ({"crf": "4"} if codec == "libx264" else {}))
        stream.codec_context.max_b_frames = 3 if reordered else 0
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        if primaries is not None:
            stream.codec_context.color_primaries = primaries
        for number in range(frames):
            given = picture(number)
            frame = av.VideoFrame.from_ndarray(given, format="rgba" if given.shape[2] == 4 else "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))


def with_matrix(film: bytes, a: float, b: float, c: float, d: float) -> bytes:
    """Return an MP4 whose first track has another display matrix, of ISO/IEC 14496-12, 6.2.2."""
    at = film.index(b"tkhd") + 44
    parts = [min(round(65536 * part), 2**31 - 1) for part in (a, b, 0, c, d, 0, 0, 0)]
    return film[:at] + struct.pack(">9i", *parts, 1 << 30) + film[at + 36 :]


def covered_sound(path: Path) -> None:
    """Write a sound as MP4 with a picture for its cover."""
    with av.open(str(path), "w", format="mp4") as container:
        voice, cover = container.add_stream("aac", rate=16000, layout="mono"), container.add_stream("mjpeg")
        cover.width = cover.height = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", Disposition.attached_pic
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        heard.sample_rate = 16000
        for stream, frame in ((voice, heard), (cover, av.VideoFrame(64, 64, "yuvj420p"))):
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
