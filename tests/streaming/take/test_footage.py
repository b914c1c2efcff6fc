"""Pictures and films of a take are read at its size and rate, and what is none is refused in one line."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_model
from films import covered_sound, drawn_film, film, with_matrix
from PIL import Image

from models.cue import CueError, StartBy
from models.errors import UserError
from models.source import Encoded
from streaming.media.film_pictures import FilmError
from streaming.media.film_reader import FilmReader
from streaming.speech.portrait_file import GROUND
from streaming.take.camera_record import CameraRecorder
from streaming.take.footage import MissingFileError, TakeFootage
from streaming.take.picture_cue import PictureCue
from streaming.take.take_file import CueLine, Take, TakeError, parse

ENTRY = tiny_model().entry  # 16 frames a second, cells of 8 pixels
SIZE = (32, 32)


def footage(folder: Path) -> TakeFootage:
    return TakeFootage(ENTRY, SIZE, folder)


def halves(folder: Path, name: str = "a.png", **how: object) -> None:
    """Write a picture of 64x32 pixels, red on the left and blue on the right."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32, 0], pixels[:, 32:, 2] = 255, 255
    Image.fromarray(pixels).save(folder / name, **how)  # type: ignore[arg-type]


def shown(folder: Path, name: str, **how: object) -> np.ndarray:
    start = footage(folder).start(name, how.get("fit", "crop"), None)  # type: ignore[arg-type]
    return np.frombuffer(start.pixels, np.uint8).reshape(-1, 32, 32, 3)


def test_a_picture_is_cropped_around_its_middle_or_gets_bars(tmp_path: Path) -> None:
    halves(tmp_path)
    cropped, padded = shown(tmp_path, "a.png")[0], shown(tmp_path, "a.png", fit="pad")[0]
    assert (cropped[:, :15] == (255, 0, 0)).all()
    assert (cropped[:, 17:] == (0, 0, 255)).all()
    assert (padded[:8] == 0).all()
    assert (padded[24:] == 0).all()
    assert (padded[9:23, :15] == (255, 0, 0)).all()


def test_a_picture_is_turned_upright_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise to view it
    halves(tmp_path, exif=exif)
    turned = shown(tmp_path, "a.png")[0]
    assert (turned[:15] == (255, 0, 0)).all()
    assert (turned[17:] == (0, 0, 255)).all()


@pytest.mark.parametrize("kind", ["RGBA", "I;16", "CMYK", "1", "L"])
def test_pictures_of_every_kind_become_rgb(kind: str, tmp_path: Path) -> None:
    grey = np.full((40, 40), 255 if kind == "1" else 128, np.uint8)
    image = Image.fromarray(grey)
    name = "a.jpg" if kind == "CMYK" else "a.png"
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    (deep if kind == "I;16" else image.convert("RGB").convert(kind)).save(tmp_path / name)
    assert np.abs(shown(tmp_path, name)[0].astype(int) - grey[0, 0]).max() <= 3


def test_the_last_frames_of_a_film_are_taken_at_the_takes_rate(tmp_path: Path) -> None:
    """A film of 32 frames a second at 16: every second picture, the last one included, up to what a chunk can see."""
    film(tmp_path / "a.mp4", frames=100, fps=32)
    got = shown(tmp_path, "a.mp4").mean((1, 2, 3))
    assert len(got) == 4 * 9 - 3
    assert np.abs(got - np.arange(99, 99 - 2 * 33, -2)[::-1] * 2).max() < 4
    film(tmp_path / "b.mp4", frames=5, fps=16)
    assert len(shown(tmp_path, "b.mp4")) == 5


@pytest.mark.parametrize("fps", [8, 16, 30])
def test_a_source_gives_each_frame_the_picture_of_its_time_in_any_order(fps: int, tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=60, fps=fps)
    source = footage(tmp_path)
    source.source("a.mp4", "crop")

    def values(first: int, count: int) -> np.ndarray:
        frames = source.frames("a.mp4", first, count)
        return np.asarray(frames, float).mean((1, 2, 3)) / 2  # type: ignore[arg-type]

    wanted = [min(59, int(i * fps / 16 + 1e-6)) for i in range(160)]
    for first, count in ((0, 9), (9, 12), (21, 12), (5, 12), (150, 10)):
        assert np.abs(values(first, count) - wanted[first : first + count]).max() < 1.5


def test_a_film_that_ends_before_the_take_is_held_and_that_is_noted_once(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=33, fps=16)
    source = footage(tmp_path)
    source.frames("a.mp4", 0, 33)
    assert source.notes == []
    held = source.frames("a.mp4", 33, 12)
    source.frames("a.mp4", 45, 12)
    assert source.notes == ["a.mp4 ends after 2.0 s; its last picture is held from there on"]
    assert (held == held[:1]).all()  # type: ignore[index, union-attr]


def test_a_region_is_whole_cells_of_a_rectangle_or_of_a_masks_white_part(tmp_path: Path) -> None:
    Image.fromarray(np.pad(np.full((16, 8), 255, np.uint8), ((8, 8), (16, 8)))).save(tmp_path / "m.png")
    assert footage(tmp_path).region("50%, 25%, 25%, 50%", "crop").cells == "0000001000100000"
    assert footage(tmp_path).region("m.png", "crop").cells == "0000001000100000"
    with pytest.raises(CueError, match="covers no cell of 8x8 pixels; make it larger"):
        footage(tmp_path).region("50%,50%,1%,1%", "crop")


def test_a_mask_is_fitted_as_the_source_is_and_has_no_transparent_parts(tmp_path: Path) -> None:
    """Expect the middle of a mask of 64x32 whose left half is white, or, padded, all of it with bars."""
    mask = np.zeros((32, 64), np.uint8)
    mask[:, :32] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    film(tmp_path / "a.mp4", frames=9, fps=16)
    shown = {"crop": "1100" * 4, "pad": "0000" + "1100" * 2 + "0000"}
    for fit, cells in shown.items():
        follow = CueLine(source="a.mp4", region="m.png", fit=fit).cues(footage(tmp_path))[0]  # type: ignore[arg-type]
        alone = CueLine(region="m.png", fit=fit).cues(footage(tmp_path))[0]  # type: ignore[arg-type]
        assert [follow.region.cells, alone.region.cells] == [cells, cells]  # type: ignore[union-attr]
    Image.fromarray(np.dstack([np.full((32, 32, 3), 255, np.uint8), mask[:, 16:48]])).save(tmp_path / "t.png")
    with pytest.raises(CueError, match=r"t\.png: a mask with transparent parts; save it in black and white"):
        footage(tmp_path).region("t.png", "crop")


def test_a_film_is_fitted_as_each_cue_that_follows_it_says(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.mp4", lambda n: np.full((32, 64, 3), 200, np.uint8), 20)
    read = footage(tmp_path)
    cropped, padded = (read.source("a.mp4", fit) for fit in ("crop", "pad"))  # type: ignore[arg-type]
    for source, bars in ((cropped, False), (padded, True), (cropped, False)):
        shown = np.asarray(read.frames(source, 0, 5))
        assert bool(shown[:, :6].max() < 10) is bars
    assert read.begins("a.mp4") == 0


def test_another_file_that_takes_the_name_of_one_that_was_never_used_is_read(tmp_path: Path) -> None:
    read = footage(tmp_path)
    for value in (50, 200):
        Image.new("RGB", (32, 32), (value,) * 3).save(tmp_path / "a.png")
        assert read.start("a.png", "crop", None).pixels[0] == value
        drawn_film(tmp_path / "new.mp4", lambda n: np.full((32, 32, 3), value, np.uint8), 9)  # noqa: B023
        (tmp_path / "new.mp4").replace(tmp_path / "a.mp4")
        assert abs(float(np.asarray(read.frames(read.source("a.mp4", "crop"), 0, 5)).mean()) - value) < 4


def test_wide_pixels_make_a_film_wider(tmp_path: Path) -> None:
    """A disc that was filmed with pixels twice as wide as high is stored as a narrow oval."""
    y, x = np.mgrid[:64, :32] - np.array([31.5, 15.5])[:, None, None]
    oval = np.repeat((((x * 2) ** 2 + y**2 < 24**2) * 255).astype(np.uint8)[..., None], 3, 2)
    drawn_film(tmp_path / "a.mp4", lambda n: oval, 5, pixel=Fraction(2))
    for fit in ("crop", "pad"):
        disc = shown(tmp_path, "a.mp4", fit=fit)[0, :, :, 0] > 128
        across, down = int(disc.any(0).sum()), int(disc.any(1).sum())
        assert abs(across - 24) <= 1, fit
        assert abs(down - 24) <= 1, fit


def test_an_avi_whose_pictures_are_stored_in_another_order_shows_all_of_them(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.avi", lambda n: np.full((32, 32, 3), 5 * n, np.uint8), 40, reordered=True)
    reader = FilmReader(tmp_path / "a.avi", SIZE, 16)
    assert np.abs(reader.frames(0, 40).mean((1, 2, 3)) / 5 - np.arange(40)).max() < 0.5
    assert np.abs(reader.last(9).mean((1, 2, 3)) / 5 - np.arange(31, 40)).max() < 0.5
    reader.close()


def test_a_film_in_hdr_is_told_of_and_the_cover_of_a_sound_is_no_film(tmp_path: Path) -> None:
    for name, transfer, told in (("a.mp4", 16, "(PQ)"), ("b.mp4", 18, "(HLG)"), ("c.mp4", 1, "")):
        drawn_film(tmp_path / name, lambda n: np.full((32, 32, 3), 90, np.uint8), 9, transfer=transfer)
        read = footage(tmp_path)
        read.source(name, "crop")
        read.start(name, "crop", None)
        why = "whose colours are pale here; convert it to SDR"
        assert read.notes == ([f"{name}: a film in HDR {told}, {why}"] if told else [])
    covered_sound(tmp_path / "a.m4a")
    with pytest.raises(FilmError, match="an MP4 file without a picture that can be decoded"):
        footage(tmp_path).source("a.m4a", "crop")


def corners(number: int) -> np.ndarray:
    """Return a picture of 32x32: black, red, green, blue by quarters, in the order of reading."""
    quarters = np.zeros((32, 32, 3), np.uint8)
    quarters[:16, 16:, 0] = quarters[16:, :16, 1] = quarters[16:, 16:, 2] = 255
    return quarters


@pytest.mark.parametrize(
    ("matrix", "quarters"),
    [
        ((1, 0, 0, 1), "krgb"),
        ((-1, 0, 0, 1), "rkbg"),  # mirrored, as a front camera's film may be
        ((1, 0, 0, -1), "gbkr"),
        ((-1, 0, 0, -1), "bgrk"),
        ((0, 1, -1, 0), "gkbr"),  # by 90° clockwise, as a telephone writes it
        ((0, -1, 1, 0), "rbkg"),
        ((0, 1, 1, 0), "kgrb"),
        ((0, -1, -1, 0), "brgk"),
        ((0, 0, 0, 0), "krgb"),
    ],
)
def test_a_film_is_turned_and_mirrored_as_its_display_matrix_says(
    matrix: tuple[float, float, float, float], quarters: str, tmp_path: Path
) -> None:
    drawn_film(tmp_path / "a.mp4", corners, 5, pixels="yuv444p")
    (tmp_path / "a.mp4").write_bytes(with_matrix((tmp_path / "a.mp4").read_bytes(), *matrix))
    frame = shown(tmp_path, "a.mp4")[0]
    centres = [frame[y, x] for y in (8, 24) for x in (8, 24)]
    assert "".join("k" if centre.max() < 90 else "rgb"[centre.argmax()] for centre in centres) == quarters


def test_a_film_at_a_slant_is_refused_with_its_angle(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.mp4", corners, 5)
    (tmp_path / "a.mp4").write_bytes(with_matrix((tmp_path / "a.mp4").read_bytes(), 0.866, 0.5, -0.5, 0.866))
    with pytest.raises(FilmError, match=r"a\.mp4: a film that is shown at a slant of 30°; save it upright"):
        footage(tmp_path).source("a.mp4", "crop")


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "prores_ks", "yuva444p10le"),
        ("a.mov", "png", "rgba"),
        ("a.mov", "qtrle", "argb"),
        ("a.mkv", "ffv1", "yuva420p"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.webm", "libvpx", "yuva420p"),
    ],
)
def test_transparent_parts_of_a_film_are_laid_on_a_light_grey_and_noted(
    name: str, codec: str, pixels: str, tmp_path: Path
) -> None:
    """Expect a red film whose right half is transparent from its sixth picture on, as pictures are shown."""

    def half_red(number: int) -> np.ndarray:
        picture = np.full((32, 32, 4), (200, 0, 0, 255), np.uint8)
        picture[:, 16:, 3] = 255 if number < 5 else 0
        return picture

    options = {"auto-alt-ref": "0"} if codec == "libvpx" else None  # without which it takes no alpha
    drawn_film(tmp_path / name, half_red, 20, codec=codec, pixels=pixels, options=options)
    read = footage(tmp_path)
    read.source(name, "crop")
    opaque = np.asarray(read.frames(name, 0, 5)).astype(int)
    assert np.abs(opaque - (200, 0, 0)).max() < 12
    assert read.notes == []
    last = np.asarray(read.frames(name, 5, 15))[-1].astype(int)
    assert np.abs(last[:, 4:12] - (200, 0, 0)).max() < 12
    assert np.abs(last[:, 20:28] - GROUND).max() < 12
    read.start(name, "crop", None)
    assert read.notes == [f"{name}: its transparent parts are laid on a light grey"]


def test_transport_streams_and_quicktime_films_without_brands_are_read(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.ts", lambda n: np.full((32, 32, 3), 5 * n, np.uint8), 40, reordered=True)
    packets = (tmp_path / "a.ts").read_bytes()
    of_a_disc = b"".join(b"\0\0\0\0" + packets[at : at + 188] for at in range(0, len(packets), 188))
    (tmp_path / "b.m2ts").write_bytes(of_a_disc)
    drawn_film(tmp_path / "c.mov", lambda n: np.full((32, 32, 3), 5 * n, np.uint8), 40)
    branded = (tmp_path / "c.mov").read_bytes()
    begin = int.from_bytes(branded[:4], "big")
    (tmp_path / "d.mov").write_bytes(b"\0\0\0" + bytes([begin]) + b"wide" + branded[8:])  # all offsets stay
    for name in ("a.ts", "b.m2ts", "c.mov", "d.mov"):
        reader = FilmReader(tmp_path / name, SIZE, 16)
        assert np.abs(reader.frames(0, 40).mean((1, 2, 3)) / 5 - np.arange(40)).max() < 0.5, name
        assert np.abs(reader.frames(7, 9).mean((1, 2, 3)) / 5 - np.arange(7, 16)).max() < 0.5, name
        assert np.abs(reader.last(9).mean((1, 2, 3)) / 5 - np.arange(31, 40)).max() < 0.5, name
        reader.close()


def test_films_in_wide_colours_or_interlaced_are_told_of(tmp_path: Path) -> None:
    grey = np.full((32, 32, 3), 90, np.uint8)
    drawn_film(tmp_path / "a.mp4", lambda n: grey, 9, primaries=9)
    drawn_film(tmp_path / "b.mp4", lambda n: grey, 9, options={"x264-params": "interlaced=1"})
    read = footage(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        read.source(name, "crop")
    assert read.notes == [
        "a.mp4: a film in wide colours (BT.2020), which are pale here; convert it to BT.709",
        "b.mp4: an interlaced film, whose moving edges have combs; deinterlace it",
    ]


def ramp(number: int) -> np.ndarray:
    """Return a grey picture whose value is four times its number."""
    return np.full((32, 32, 3), 4 * number, np.uint8)


def numbers(reader: FilmReader, first: int, count: int) -> np.ndarray:
    return reader.frames(first, count).mean((1, 2, 3)) / 4


def test_a_film_that_was_cut_before_a_key_picture_begins_with_that(tmp_path: Path) -> None:
    """Expect a recording whose first pictures cannot be decoded to be read from its first whole one on."""
    drawn_film(tmp_path / "whole.ts", ramp, 60, reordered=True, options={"g": "12", "crf": "4"})
    packets = (tmp_path / "whole.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(packets[len(packets) // 188 // 3 * 188 :])
    reader = FilmReader(tmp_path / "a.ts", SIZE, 16)
    first = round(float(numbers(reader, 0, 1)[0]))
    assert first > 18  # a third of its packets is missing, and what follows up to a picture that stands alone
    assert reader.begins == pytest.approx(FilmReader(tmp_path / "whole.ts", SIZE, 16).begins + first / 16, abs=0.01)
    for at in (0, 20, 3):
        assert np.abs(numbers(reader, at, 5) - np.arange(first + at, first + at + 5)).max() < 0.5
    assert np.abs(reader.last(5).mean((1, 2, 3)) / 4 - np.arange(55, 60)).max() < 0.5
    assert reader.notes == []
    reader.close()


@pytest.mark.parametrize(("name", "share"), [("a.mp4", 0.7), ("a.mkv", 0.5), ("a.avi", 0.7)])
def test_a_film_that_is_cut_off_is_told_of_with_its_lengths(name: str, share: float, tmp_path: Path) -> None:
    drawn_film(tmp_path / name, ramp, 60, options={"g": "12", "crf": "4"}, index_first=name == "a.mp4")
    read = footage(tmp_path)
    read.start(name, "crop", None)
    assert read.notes == []
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    read.start(name, "crop", None)
    (told,) = (note for note in read.notes if "cut off" in note)
    assert re.fullmatch(
        rf"{re.escape(name)}: it ends after [12]\.\d s, and says that it has [23]\.\d s; it may be cut off", told
    )


def test_damage_within_a_film_and_times_that_run_back_are_told_of(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.ts", ramp, 60)
    (tmp_path / "twice.ts").write_bytes((tmp_path / "a.ts").read_bytes() * 2)
    film(tmp_path / "b.mp4", frames=64, fps=16)
    data = (tmp_path / "b.mp4").read_bytes()
    at = data.index(b"mdat") + len(data) // 4
    (tmp_path / "damaged.mp4").write_bytes(data[:at] + bytes(200) + data[at + 200 :])
    damaged = "damaged.mp4: parts of it are damaged; pictures are missing or broken"
    back = "twice.ts: its times jump back after 3.7 s; pictures from there on are left out"
    for name, note in (("a.ts", None), ("b.mp4", None), ("damaged.mp4", damaged), ("twice.ts", back)):
        read = footage(tmp_path)
        read.start(name, "crop", None)
        assert read.notes[:1] == ([note] if note else []), name


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_a_film_with_a_title_that_is_not_utf8_is_read(name: str, tmp_path: Path) -> None:
    drawn_film(tmp_path / name, ramp, 20, title="a title")
    data = (tmp_path / name).read_bytes()
    assert b"a title" in data
    (tmp_path / name).write_bytes(data.replace(b"a title", b"\xd6\xff tle!"))
    reader = FilmReader(tmp_path / name, SIZE, 16)
    assert np.abs(numbers(reader, 0, 20) - np.arange(20)).max() < 0.5
    reader.close()


def test_a_film_in_an_unknown_coding_or_encrypted_is_refused(tmp_path: Path) -> None:
    drawn_film(tmp_path / "a.mp4", ramp, 9)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    # as a film with DRM has it; the rest of such a film's header is of no account, as it is not decoded
    (tmp_path / "c.mp4").write_bytes(data.replace(b"avc1", b"encv").replace(b"colr", b"sinf").replace(b"btrt", b"sinf"))
    for name, why in (
        ("b.mp4", "in a coding that cannot be decoded; save it as H.264"),
        ("c.mp4", r"encrypted \(DRM\)"),
    ):
        with pytest.raises(FilmError, match=rf"{name}: .*{why}"):
            footage(tmp_path).source(name, "crop")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, None),
        ({"shape": (1, 16, 3, 8, 8)}, "was recorded for another take"),
        ({"motion": "NaN"}, "ends before its frame 0"),
        ({"motion": "1e300"}, "ends before its frame 0"),
        ({"value": float("nan")}, "ends before its frame 0"),
    ],
)
def test_a_record_of_a_camera_that_does_not_suit_the_take_is_refused(
    wrong: dict[str, Any], why: str | None, tmp_path: Path
) -> None:
    channels = ENTRY.transformer["out_channels"]
    latents = torch.full(wrong.get("shape", (1, channels, 3, 4, 4)), wrong.get("value", 0.5)).half()
    recorder = CameraRecorder(tmp_path / "a.camera")
    recorder.add(0, Encoded(latents, 0.125))
    recorder.close()
    text = (tmp_path / "a.camera").read_text()
    (tmp_path / "a.camera").write_text(text.replace(":0.125,", f":{wrong.get('motion', 0.125)},"))
    if why is None:
        assert footage(tmp_path).frames("a.camera", 0, 12).latents.shape == latents.shape  # type: ignore[union-attr]
        return
    with pytest.raises(UserError, match=why):
        footage(tmp_path).frames("a.camera", 0, 12)


def png_of(width: int, height: int) -> bytes:
    """Return the beginning of a PNG that says it has this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + bytes(64)


def cut_film(folder: Path) -> bytes:
    film(folder / "whole.mp4", frames=20, fps=16)
    return (folder / "whole.mp4").read_bytes()[:600]


HOSTILE: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda f: b"",
    "text": lambda f: b"hello",
    "zeros": lambda f: bytes(5000),
    "a svg": lambda f: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a playlist": lambda f: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "a concat list": lambda f: b"ffconcat version 1.0\nfile /etc/passwd\n",
    "a huge png": lambda f: png_of(60000, 60000),
    "a tiff": lambda f: b"II*\0" + bytes(100),
    "a pdf": lambda f: b"%PDF-1.4",
    "a zip": lambda f: b"PK\3\4" + bytes(100),
    "half a film": cut_film,
    "a sound": lambda f: b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(40),
    "noise": lambda f: np.random.default_rng(0).bytes(5000),
    "half a png": lambda f: _png()[:60],
    "an mp4 of nothing": lambda f: b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
}


def _png() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("use", ["start", "source", "region"])
def test_what_is_no_picture_or_film_is_refused_in_one_line_with_its_name(use: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(HOSTILE[name](tmp_path))
    read = footage(tmp_path)
    uses = {"start": lambda n: read.start(n, "crop", None), "source": lambda n: read.source(n, "crop")}
    with pytest.raises(UserError) as error:
        (uses | {"region": lambda n: read.region(n, "crop")})[use]("x.bin")
    assert "x.bin" in str(error.value)
    assert "\n" not in str(error.value)
    if use == "start" and name in ("empty", "a tiff", "a pdf"):
        assert "not a picture or a film that can be read but" in str(error.value)
    assert len(str(error.value)) < 300


def test_a_file_that_is_missing_or_a_folder_or_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.png").mkdir()
    for name in ("none.png", "d.png"):
        with pytest.raises(MissingFileError, match=f"{name}: no such file"):
            footage(tmp_path).start(name, "crop", None)
    for name in ("/etc/passwd", "../a.png", "a/../../b.png", "c:\\a.png", "file:a", "", " ", "a\nb", "x" * 300):
        with pytest.raises(ValueError, match=r"must lie in the take's folder|needs the name of a file"):
            CueLine(prompt="one", start=name)
    with pytest.raises(CueError, match="nothing supplies them here"):
        CueLine(start="a.png").cues()
    with pytest.raises(CueError, match="no camera is connected"):
        CueLine(source="camera").cues(footage(tmp_path))


def test_files_of_one_name_in_different_folders_are_all_kept_beside_a_film(tmp_path: Path) -> None:
    given = {name: f"content of {name}".encode() for name in ("day/sea.png", "night/sea.png", "sea.png")}
    for name, data in given.items():
        (tmp_path / "take" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "take" / name).write_bytes(data)
    (tmp_path / "out").mkdir()
    cues = "".join(f"  - {{at: {6 * n}, prompt: a, start: {name}}}\n" for n, name in enumerate(given))
    take = parse(f"length: 18\ncues:\n{cues}", "t.yaml")
    kept = footage(tmp_path / "take").kept_beside(take, tmp_path / "out" / "film.mp4")
    names = [cue.files()[0] for cue in kept.cues]
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == list(given.values())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"start_by": "pin"}, "start_by goes with a start"),
        ({"fit": "pad", "strength": 0.5}, "fit goes with a start or a source"),
        ({"source": "none", "strength": 0.5}, "not with source: none"),
        ({"recall": 3, "start": "a.png"}, "keep one of them"),
        ({"source": "a.mp4", "region": "0%,0%,0%,10%"}, "is empty, or does not lie within"),
        ({"source": "a.mp4", "region": "60%,0%,50%,10%"}, "is empty, or does not lie within"),
        ({"source": "a.mp4", "region": "10% 10%"}, "is no rectangle; write left, top, width, height"),
        ({"source": "a.mp4", "strength": 0.0}, "greater than 0"),
        ({"video": "a.mp4"}, "video: is written as start: clip.mp4 goes on from a film"),
        ({"recall": "soon"}, "'soon' is neither a whole number"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        PictureCue.model_validate(fields)


def test_a_film_cannot_be_pinned(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=20, fps=16)
    with pytest.raises(CueError, match=r"a\.mp4: a film is gone on from as a prefix; only an image can be pinned"):
        footage(tmp_path).start("a.mp4", "crop", StartBy.PIN)


def test_a_film_that_ends_with_damage_is_read_up_to_it(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", frames=64, fps=16)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    at = data.index(b"mdat") + 4
    middle = at + (len(data) - at) // 4
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "a.mp4").write_bytes(data)
    reader = FilmReader(tmp_path / "a.mp4", SIZE, 16)
    assert reader.frames(0, 80).shape == (80, 32, 32, 3)
    reader.close()
    (tmp_path / "b.mp4").write_text("film")
    with pytest.raises(FilmError, match="not a film that can be read but a text"):
        FilmReader(tmp_path / "b.mp4", SIZE, 16)


def test_a_take_with_pictures_survives_its_file_and_names_what_is_wrong_with_a_cue(tmp_path: Path) -> None:
    text = (
        "cues:\n  - prompt: one\n    start: a.png\n    start_by: prefix\n    fit: pad\n"
        "  - at: 3s\n    source: 12.mp4\n    strength: 0.6\n    region: 25%, 25%, 50%, 50%\n"
        "  - at: 9s\n    recall: 1s\n"
    )
    take = parse(text, "t.yaml")
    assert parse(take.dumped(), "t.yaml") == take
    assert [cue.files() for cue in take.cues] == [["a.png"], ["12.mp4"], []]
    with pytest.raises(UserError, match=r"a\.png: no such file"):
        footage(tmp_path).check(take)
    film(tmp_path / "12.mp4", frames=9, fps=16)
    with pytest.raises(TakeError, match="the cue at 3: region 0%,0%,1%,1%: covers no cell"):
        footage(tmp_path).check(
            Take(cues=[CueLine(prompt="one"), CueLine(at=3, source="12.mp4", region="0%,0%,1%,1%")])
        )
