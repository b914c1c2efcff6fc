"""Test that damaged pictures and sounds of every format give a result or an error of one line, in bounded time."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import SIZE, chunk, png, saved
from PIL import Image
from sounds import encoded, pcm, warble, with_cover

from models.errors import UserError
from streaming.speech.audio_file import whole
from streaming.speech.portrait_file import portrait_in

SLOWEST = 20.0  # seconds that one small file may take, on a busy machine

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 4), np.uint8))
EXIF = Image.Exif()
EXIF[0x0112] = 6
PICTURES: dict[str, bytes] = {
    "PNG": saved(NOISE, "PNG", exif=EXIF.tobytes()),
    "palette PNG": png(40, 40, 8, 3, bytes(40), chunk(b"PLTE", bytes(range(30))), chunk(b"tRNS", bytes(5))),
    "HDR PNG": png(40, 40, 16, 2, bytes(240), chunk(b"cICP", bytes([9, 16, 0, 1])), chunk(b"gAMA", bytes(4))),
    "animated PNG": saved(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(90)]),
    "JPEG": saved(NOISE.convert("RGB"), "JPEG", exif=EXIF.tobytes()),
    "progressive JPEG": saved(NOISE.convert("RGB"), "JPEG", progressive=True),
    "CMYK JPEG": saved(NOISE.convert("RGB").convert("CMYK"), "JPEG"),
    "WebP": saved(NOISE, "WEBP", exif=EXIF.tobytes()),
    "animated WebP": saved(NOISE, "WEBP", save_all=True, append_images=[NOISE.rotate(90)]),
    "AVIF": saved(NOISE, "AVIF", exif=EXIF.tobytes()),
    "GIF": saved(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]),
}
SECOND = warble(0.6)
SOUNDS: dict[str, Callable[[], bytes]] = {
    "WAV": lambda: pcm(SECOND),
    "WAV of floats": lambda: encoded("wav", "pcm_f32le", SECOND),
    "MP3": lambda: with_cover(encoded("mp3", "libmp3lame", SECOND)),
    "M4A": lambda: encoded("ipod", "aac", SECOND),
    "ADTS": lambda: encoded("adts", "aac", SECOND),
    "Opus": lambda: encoded("ogg", "libopus", SECOND),
    "WebM": lambda: encoded("webm", "libopus", SECOND),
    "FLAC": lambda: encoded("flac", "flac", SECOND),
    "AIFF": lambda: encoded("aiff", "pcm_s24be", SECOND),
    "CAF": lambda: encoded("caf", "pcm_s16be", SECOND),
    "WMA": lambda: encoded("asf", "wmav2", SECOND),
    "AC-3": lambda: encoded("ac3", "ac3", SECOND),
    "AVI": lambda: encoded("avi", "pcm_s16le", SECOND),
}

# position (often in a header), new bytes, and the fraction of the file that is kept
CHANGES = st.lists(
    st.tuples(st.one_of(st.integers(0, 200), st.integers(0, 1 << 20)), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=6,
)
KEPT = st.one_of(st.just(1.0), st.floats(0.01, 1))
FUZZ = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def damaged(data: bytes, changes: list[tuple[int, bytes]], kept: float) -> bytes:
    out = bytearray(data)
    for at, put in changes:
        begin = at % len(out)
        out[begin : begin + len(put)] = put
    return bytes(out[: max(1, int(kept * len(out)))])


def in_one_line_or_not_at_all(act: Callable[[], object]) -> None:
    began, said = time.monotonic(), ""
    try:
        act()
    except UserError as e:
        said = str(e)
    assert "\n" not in said
    assert len(said) < 300
    assert time.monotonic() - began < SLOWEST


@pytest.mark.parametrize("kind", PICTURES)
def test_a_damaged_picture_gives_a_portrait_or_an_error_of_one_line(kind: str) -> None:
    @FUZZ
    @given(CHANGES, KEPT)
    def fuzz(changes: list[tuple[int, bytes]], kept: float) -> None:
        in_one_line_or_not_at_all(lambda: portrait_in(damaged(PICTURES[kind], changes, kept), SIZE, "me"))

    fuzz()


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_damaged_sound_gives_a_sound_or_an_error_of_one_line(kind: str) -> None:
    data = SOUNDS[kind]()

    @FUZZ
    @given(CHANGES, KEPT)
    def fuzz(changes: list[tuple[int, bytes]], kept: float) -> None:
        def read() -> None:
            sound, _ = whole(io.BytesIO(damaged(data, changes, kept)), 600)
            assert sound.dtype == np.int16
            assert sound.ndim == 1

        in_one_line_or_not_at_all(read)

    fuzz()
