"""Make short films and GIF pictures of frames, and enlarge films, for a person to download."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from numpy.typing import NDArray

from models.checkpoints.matte_file import installed_matte
from models.errors import UserError
from models.matte import cut_out
from streaming.media.h264 import Picture, enlargement
from streaming.media.video_writer import encode_fragment

MOST_GIF_SIDE = 320  # pixels; a GIF has no compression to speak of
MOST_GIF_SECONDS = 10
MOST_GIF_FPS = 16  # pictures a second; of a faster film every second or third is taken
SOUND_RATE = 48_000
FRAGMENT_FRAMES = 48  # of an enlarged film, which are sent as soon as they are encoded
MOST_FILM_SIDE = 4096  # pixels of an enlarged film

Sound = NDArray[np.int16]  # mono samples at SOUND_RATE


class ClipError(UserError):
    """Report, in one line for a person, a clip that cannot be made."""


def mp4_of(pictures: Iterable[Picture], fps: int, sound: Sound | None = None) -> bytes:
    """Return an MP4 film of pictures [H, W, 3] RGB, `fps` a second, enlarged as a live film is, with mono `sound`."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=fps, options={"preset": "veryfast", "crf": "16", "bf": "0"})
        stream.codec_context.thread_count = 1  # the rest of the machine draws
        voice = film.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound is not None and sound.any() else None
        for index, picture in enumerate(pictures):
            height, width = picture.shape[:2]
            if index == 0:
                scale = enlargement(width, height)
                stream.width, stream.height, stream.pix_fmt = width * scale, height * scale, "yuv420p"
            frame = _frame(_resampled(picture, (stream.width, stream.height)))
            frame.pts, frame.time_base = index, Fraction(1, fps)
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
        if voice is not None and sound is not None:
            heard = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
            film.mux(voice.encode(heard))
            film.mux(voice.encode(None))
    return out.getvalue()


def png_of(picture: Picture, faces: int | None = None) -> bytes:
    """Return a PNG file of a picture [H, W, 3] RGB; of so many `faces` side by side with nothing behind them, if given.

    Its colours are not multiplied by alpha (ISO/IEC 15948).
    """
    if faces is None:
        return bytes(cv2.imencode(".png", picture[..., ::-1])[1])
    network = installed_matte()
    cut = np.concatenate([cut_out(network, face) for face in np.split(picture, faces, 1)], 1)
    return bytes(cv2.imencode(".png", cut[..., [2, 1, 0, 3]])[1])


def gif_of(pictures: Iterable[Picture], fps: int) -> bytes:
    """Return an endless GIF of pictures [H, W, 3] RGB with one palette of 256 colours made for them (palettegen).

    At most MOST_GIF_SECONDS are taken, and at most MOST_GIF_FPS pictures a second; larger ones are made smaller, so
    that a GIF has at most 16 MB. ClipError without a picture.
    """
    step = -(-fps // MOST_GIF_FPS)
    taken = [p for i, p in enumerate(pictures) if i < fps * MOST_GIF_SECONDS and i % step == 0]
    if not taken:
        raise ClipError("there is no picture to make a GIF of")
    height, width = taken[0].shape[:2]
    share = min(1.0, MOST_GIF_SIDE / max(width, height))
    size = (round(width * share), round(height * share))
    out, rate = io.BytesIO(), Fraction(fps, step)
    graph = Graph()
    source = graph.add_buffer(format=av.VideoFormat("rgb24", *size), width=size[0], height=size[1], time_base=1 / rate)
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=full")
    use, sink = graph.add("paletteuse", "dither=bayer:bayer_scale=3"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for index, picture in enumerate(taken):
        frame = av.VideoFrame.from_ndarray(_resampled(picture, size), format="rgb24")
        frame.pts, frame.time_base = index, 1 / rate
        source.push(frame)
    source.push(None)
    with av.open(out, "w", format="gif") as film:
        stream = film.add_stream("gif", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "pal8"
        for index in range(len(taken)):
            frame = sink.pull()
            assert isinstance(frame, av.VideoFrame), "the graph has pictures only"
            frame.pts, frame.time_base = index, 1 / rate
            film.mux(stream.encode(frame))
        film.mux(stream.encode(None))
    return out.getvalue()


def pictures_of(film: Path) -> Iterator[tuple[Picture, int]]:
    """Yield the pictures of a film [H, W, 3] RGB, each with the film's frames a second; ClipError if it is damaged."""
    try:
        with av.open(str(film)) as source:
            stream = source.streams.video[0]
            stream.codec_context.thread_count = 1
            fps = round(float(stream.average_rate or stream.guessed_rate or 16))
            for frame in source.decode(stream):
                yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"), np.uint8), fps
    except (FFmpegError, IndexError) as e:
        raise ClipError(f"{film.name}: it cannot be read ({e})") from e


def enlarged(film: Path, scale: int) -> Iterator[bytes]:
    """Yield a film in parts, its pictures resampled (Lanczos) to `scale` times their size, without sound.

    The parts make a fragmented MP4. ClipError if the film cannot be read, or becomes larger than MOST_FILM_SIDE.
    """
    waiting: list[Picture] = []
    first = number = fps = 0
    for picture, rate in pictures_of(film):
        height, width = picture.shape[:2]
        size = (width * scale, height * scale)
        if max(size) > MOST_FILM_SIDE:
            raise ClipError(f"{size[0]}x{size[1]} is too large a film; at most {MOST_FILM_SIDE} pixels a side")
        waiting.append(_resampled(picture, size))
        fps = rate
        if len(waiting) == FRAGMENT_FRAMES:
            yield _part(waiting, first, number, fps)
            first, number, waiting = first + len(waiting), number + 1, []
    if waiting:
        yield _part(waiting, first, number, fps)


def _part(pictures: list[Picture], first: int, number: int, fps: int) -> bytes:
    init, fragment = encode_fragment(pictures, first, number, fps)
    return fragment if number else init + fragment


def _resampled(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return a picture of `size` (width, height): Lanczos where it grows, averages where it shrinks."""
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    way = cv2.INTER_LANCZOS4 if size[0] > picture.shape[1] else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def _frame(picture: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
