"""Pictures and films of a take are read at its size and rate, and what is none is refused in one line."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from films import drawn_film, film
from PIL import Image
from small_footage import ENTRY, footage, shown

from models.cue import CueError, StartBy
from models.errors import UserError
from models.source import Encoded
from streaming.take.camera_record import CameraRecorder
from streaming.take.footage import MissingFileError
from streaming.take.picture_cue import PictureCue
from streaming.take.take_file import CueLine, Take, TakeError, parse


def halves(folder: Path, name: str = "a.png", **how: object) -> None:
    """Write a picture of 64x32 pixels, red on the left and blue on the right."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32, 0], pixels[:, 32:, 2] = 255, 255
    Image.fromarray(pixels).save(folder / name, **how)  # type: ignore[arg-type]


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
