"""Films of every container, coding, turn and damage are read as they are meant, or what is wrong is told in a line."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import covered_sound, drawn_film, film, with_matrix
from small_footage import SIZE, footage, shown

from streaming.media.film_pictures import FilmError
from streaming.media.film_reader import FilmReader
from streaming.speech.portrait_file import GROUND


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
