"""Test that pictures of the listed formats become portraits in the right colours, and that other files are refused."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import SIZE, SKIN, chunk, close, pixels, plain, png, saved, two_sized_tiff
from PIL import Image, ImageCms

from streaming.speech.portrait_file import GROUND, PortraitError, portrait_in, portrait_of

FORMATS = {"PNG": {}, "JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "AVIF": {"quality": 90}, "GIF": {}}


@pytest.mark.parametrize("kind", FORMATS)
def test_each_listed_format_is_read_whatever_its_name(kind: str, tmp_path: Path) -> None:
    (tmp_path / "face.tiff").write_bytes(saved(plain(), kind, **FORMATS[kind]))
    portrait = portrait_of(tmp_path / "face.tiff", SIZE)
    assert close(pixels(portrait), SKIN)
    assert portrait.notes == ()


OTHERS = {
    "a TIFF picture": saved(plain(), "TIFF"),
    "a BMP picture": saved(plain(), "BMP"),
    "an icon": saved(plain(), "ICO"),
    "a PDF document": saved(plain(), "PDF"),
    "a PostScript document": saved(plain(), "EPS"),
    "a JPEG 2000 picture": saved(plain(), "JPEG2000"),
    "a PNM picture": saved(plain(), "PPM"),
    "an SVG drawing": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "an HEIC picture": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    "a Photoshop document": b"8BPS\0\1" + bytes(100),
    "an HTML page": b"<!DOCTYPE html><html><body>404</body></html>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "a WAV sound": b"RIFF\0\0\0\0WAVEfmt ",
    "an MP4 file": b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100),
    "an empty file": b"",
    "a text": b"no picture",
    "a file of zeros": bytes(5000),
}


@pytest.mark.parametrize("found", OTHERS)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_another_kind_of_file_is_refused_by_its_content_and_not_by_its_name(
    found: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"me.{suffix}"
    path.write_bytes(OTHERS[found])
    with pytest.raises(PortraitError, match=f"me.{suffix}: not a picture that can be read but {found}") as e:
        portrait_of(path, SIZE)
    assert "\n" not in str(e.value)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PortraitError, match="No such file"):
        portrait_of(tmp_path / "none.png", SIZE)
    with pytest.raises(PortraitError, match="Is a directory"):
        portrait_of(tmp_path, SIZE)


def test_a_tiff_whose_tags_disagree_is_refused() -> None:
    with pytest.raises(PortraitError, match="a TIFF picture"):
        portrait_in(two_sized_tiff(), SIZE, "me")


def test_a_jpeg_that_gives_two_sizes_is_refused() -> None:
    data = saved(plain(), "JPEG")
    at = data.index(b"\xff\xc0")
    frame = data[at : at + 19]
    larger = frame[:5] + struct.pack(">HH", 7000, 7000) + frame[9:]
    for both in (frame + larger, larger + frame):
        with pytest.raises(PortraitError, match="gives its size 2 times"):
            portrait_in(data[:at] + both + data[at + 19 :], SIZE, "me")


def test_a_progressive_jpeg_of_too_many_passes_is_refused() -> None:
    data = saved(plain(size=(4000, 4000)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    with pytest.raises(PortraitError, match="passes"):
        portrait_in(data[:at] + data[at:-2] * 500 + data[-2:], SIZE, "me")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_000, 20_000, 40_000, 2**31 - 1])
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(PortraitError, match=r"^me\.png: .*of more than 64 megapixels; scale it down$"):
        portrait_in(png(side, side, 8, 2, b"", rows=1), SIZE, "me.png")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
def test_a_file_that_breaks_off_is_refused(kind: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    data = saved(Image.fromarray(noise), kind, **FORMATS[kind])
    with pytest.raises(PortraitError, match="me: ") as e:
        portrait_in(data[: int(kept * len(data))], SIZE, "me")
    assert "\n" not in str(e.value)


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(png(64, 64, 8, 2, bytes(SKIN) * 64))
    data[data.index(b"IDAT") - 1 - 13] ^= 1  # in IHDR
    with pytest.raises(PortraitError, match="a PNG picture that breaks off or is damaged"):
        portrait_in(bytes(data), SIZE, "me")


# -- transparency ---------------------------------------------------------------------------------------------------

CLEAR = {
    "RGBA": saved(plain("RGBA", (0, 0, 0, 0)), "PNG"),
    "LA": saved(plain("LA", (0, 0)), "PNG"),
    "RGBA WebP": saved(plain("RGBA", (0, 0, 0, 0)), "WEBP", lossless=True, exact=True),
    "RGBA AVIF": saved(plain("RGBA", (0, 0, 0, 0)), "AVIF"),
    "RGBA 16 bit": png(64, 64, 16, 6, bytes(8) * 64),
    "LA 16 bit": png(64, 64, 16, 4, bytes(4) * 64),
    "one colour of RGB": png(64, 64, 8, 2, bytes(3) * 64, chunk(b"tRNS", bytes(6))),
    "one colour of 16-bit RGB": png(64, 64, 16, 2, b"\x12\x34" * 192, chunk(b"tRNS", b"\x12\x34" * 3)),
    "one grey": png(64, 64, 8, 0, b"\x07" * 64, chunk(b"tRNS", b"\0\x07")),
    "one grey of 2 bit": png(64, 64, 2, 0, b"\xff" * 16, chunk(b"tRNS", b"\0\x03")),
    "one grey of 16 bit": png(64, 64, 16, 0, b"\x12\x34" * 64, chunk(b"tRNS", b"\x12\x34")),
    "black of 1 bit": png(64, 64, 1, 0, bytes(8), chunk(b"tRNS", b"\0\0")),
    "a palette": png(64, 64, 8, 3, bytes(64), chunk(b"PLTE", bytes(6)), chunk(b"tRNS", b"\0\xff")),
    "GIF": saved(plain("P", 0), "GIF", transparency=0),
}


@pytest.mark.parametrize("how", CLEAR)
def test_a_picture_that_is_transparent_everywhere_is_refused(how: str) -> None:
    with pytest.raises(PortraitError, match="transparent everywhere"):
        portrait_in(CLEAR[how], SIZE, "me")


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "LA"), ("PNG", "PA"), ("WEBP", "RGBA"), ("AVIF", "RGBA")]
)
def test_transparent_parts_are_laid_on_a_light_ground_without_a_dark_rim(kind: str, mode: str) -> None:
    cut = np.zeros((96, 96, 4), np.uint8)  # transparent pixels are zero, as most programs write them
    cut[12:84, 12:84] = (220, 220, 220, 255)
    image = Image.fromarray(cut)
    if mode == "LA":
        image = image.convert("LA")
    if mode == "PA":
        image = image.quantize(16)
    portrait = portrait_in(saved(image, kind, **({} if kind == "PNG" else {"quality": 100})), SIZE, "me")
    found = pixels(portrait)
    assert close(found[:3, :3], GROUND, 6)
    assert close(found[8:24, 8:24], (220, 220, 220), 6)
    assert found.min() > 190
    assert any("transparent parts" in note for note in portrait.notes)


def test_half_transparent_pixels_mix_with_the_ground() -> None:
    found = pixels(saved(plain("RGBA", (255, 0, 0, 128)), "PNG"))
    mixed = tuple(round((c * 128 + g * 127) / 255) for c, g in zip((255, 0, 0), GROUND, strict=True))
    assert close(found, mixed, 2)


def test_an_alpha_channel_that_hides_nothing_is_not_mentioned() -> None:
    portrait = portrait_in(saved(plain("RGBA", (*SKIN, 255)), "PNG"), SIZE, "me")
    assert close(pixels(portrait), SKIN, 0)
    assert portrait.notes == ()


# -- modes and colours ----------------------------------------------------------------------------------------------

MODES = {
    "grey": (saved(plain("L", 90), "PNG"), (90, 90, 90)),
    "grey JPEG": (saved(plain("L", 90), "JPEG"), (90, 90, 90)),
    "grey of 16 bit": (png(64, 64, 16, 0, b"\x5a\xff" * 64), (90, 90, 90)),
    "grey of 1 bit": (png(64, 64, 1, 0, b"\xff" * 8), (255, 255, 255)),
    "grey of 4 bit": (png(64, 64, 4, 0, b"\x55" * 32), (85, 85, 85)),
    "RGB of 16 bit": (png(64, 64, 16, 2, bytes([200, 1, 120, 2, 60, 3]) * 64), SKIN),
    "a palette": (saved(plain().quantize(8), "PNG"), SKIN),
    "interlaced GIF": (saved(plain(), "GIF", interlace=1), SKIN),
    "progressive JPEG": (saved(plain(), "JPEG", progressive=True, quality=95), SKIN),
    "CMYK JPEG with Adobe's inverted inks": (saved(plain("CMYK", (0, 100, 200, 20)), "JPEG", quality=95), None),
}


@pytest.mark.parametrize("how", MODES)
def test_every_mode_gives_the_same_colours(how: str) -> None:
    data, colour = MODES[how]
    assert close(pixels(data), colour or (235, 143, 51), 5)


def profile(name: str) -> bytes:
    """Return an ICC profile: a table made by LittleCMS, or a wide gamut of matrix and curve."""
    if name == "sRGB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(profile("sRGB"))
    for tag, xyz in ((b"rXYZ", (0.5151, 0.2412, -0.0011)), (b"gXYZ", (0.2919, 0.6922, 0.0419))):
        at = struct.unpack(">I", data[data.index(tag, 128) + 4 :][:4])[0]
        data[at + 8 : at + 20] = struct.pack(">iii", *(round(65536 * v) for v in xyz))
    at = struct.unpack(">I", data[data.index(b"bXYZ", 128) + 4 :][:4])[0]
    data[at + 8 : at + 20] = struct.pack(">iii", *(round(65536 * v) for v in (0.1572, 0.0666, 0.7841)))
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_a_wide_gamut_is_brought_to_srgb(kind: str) -> None:
    given = plain(colour=(200, 100, 60))
    same = pixels(saved(given, kind, quality=95, icc_profile=profile("sRGB")))
    wide = pixels(saved(given, kind, quality=95, icc_profile=profile("Display P3")))
    assert close(same, (200, 100, 60), 5)
    assert close(wide, (216, 95, 49), 8)


def test_a_profile_that_does_not_fit_is_noted() -> None:
    for data in (b"no profile", profile("sRGB")[:200]):
        portrait = portrait_in(saved(plain(), "PNG", icc_profile=data), SIZE, "me")
        assert close(pixels(portrait), SKIN)
        assert any("colour profile" in note for note in portrait.notes)
    grey = portrait_in(saved(plain("L", 90), "JPEG", icc_profile=profile("sRGB")), SIZE, "me")
    assert close(pixels(grey), (90, 90, 90))


def test_hdr_white_is_white_and_the_curve_of_a_png_is_followed() -> None:
    row = b"".join(struct.pack(">H", round(65535 * 0.5806)) for _ in range(192))  # 203 cd/m² in SMPTE ST 2084
    assert pixels(png(64, 64, 16, 2, row, chunk(b"cICP", bytes([9, 16, 0, 1])))).min() > 220
    dark = b"".join(struct.pack(">H", round(65535 * 0.36)) for _ in range(192))  # a tenth of that
    assert close(pixels(png(64, 64, 16, 2, dark, chunk(b"cICP", bytes([9, 16, 0, 1])))), (92, 92, 92), 12)
    linear = png(64, 64, 8, 2, bytes([55]) * 192, chunk(b"gAMA", struct.pack(">I", 100_000)))
    assert close(pixels(linear), (127, 127, 127), 3)


# -- shape ----------------------------------------------------------------------------------------------------------


def corners() -> Image.Image:
    """Return a picture whose quarters are red, green, blue and white."""
    quarters = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], np.uint8)
    return Image.fromarray(quarters.repeat(40, 0).repeat(40, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_by_its_exif_orientation(kind: str, orientation: int) -> None:
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that each orientation undoes
    stored = corners() if orientation == 1 else corners().transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(saved(stored, kind, quality=100, exif=exif.tobytes()))
    for (y, x), colour in zip(
        ((6, 6), (6, 25), (25, 6), (25, 25)), ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)), strict=True
    ):
        assert close(found[y, x], colour, 20)


def test_a_tall_picture_on_its_side_is_cropped_as_it_is_seen() -> None:
    tall = np.zeros((200, 80, 3), np.uint8)
    tall[60:140] = SKIN
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.fromarray(tall).transpose(Image.Transpose.ROTATE_90)
    portrait = portrait_in(saved(lying, "PNG", exif=exif.tobytes()), SIZE, "me")
    assert close(pixels(portrait), SKIN)
    assert pixels(portrait_in(saved(lying, "PNG", exif=exif.tobytes()), (20, 50), "me")).shape == (50, 20, 3)


def test_a_portrait_is_cropped_around_its_middle_and_scaled() -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = (30, 200, 10)
    assert (pixels(saved(Image.fromarray(wide), "PNG")) == (30, 200, 10)).all()


def test_a_picture_of_the_takes_size_keeps_its_pixels() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    assert (pixels(saved(Image.fromarray(noise), "PNG")) == noise).all()


@pytest.mark.parametrize("size", [(1, 1), (15, 15), (1, 5000), (9000, 2)])
def test_a_picture_with_too_few_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(PortraitError, match=f"{size[0]}x{size[1]} is too small"):
        portrait_in(saved(plain(size=size), "PNG"), SIZE, "me")


def test_cropping_and_enlarging_are_noted() -> None:
    notes = portrait_in(saved(plain(size=(400, 20)), "PNG"), (64, 64), "me").notes
    assert notes == (
        "me: of 400x20 pixels only the middle 20x20 is used",
        "me: 20x20 pixels are enlarged to 64x64",
    )


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "GIF"])
def test_an_animation_gives_its_first_picture_and_a_note(kind: str) -> None:
    others = [plain(colour=(0, 0, n)) for n in (100, 250)]
    data = saved(plain(), kind, save_all=True, append_images=others, duration=100, **FORMATS[kind])
    portrait = portrait_in(data, SIZE, "me")
    assert close(pixels(portrait), SKIN)
    assert portrait.notes == ("me: it holds several pictures; the first one is used",)


def test_a_file_of_two_formats_at_once_is_read_by_its_first_bytes() -> None:
    zipped = saved(plain(), "PNG") + b"PK\x03\x04" + bytes(100) + saved(plain(), "TIFF")
    assert close(pixels(zipped), SKIN)
    with pytest.raises(PortraitError, match="a PDF document"):
        portrait_in(b"%PDF-1.4\n" + saved(plain(), "JPEG"), SIZE, "me")


# -- memory ---------------------------------------------------------------------------------------------------------

PROBE = """
import re, sys
from pathlib import Path
from streaming.speech.portrait_file import portrait_of
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
before = peak()
portrait_of(Path(sys.argv[1]), (128, 128))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["RGBA PNG", "palette PNG", "progressive JPEG", "GIF", "RGBA WebP", "RGBA AVIF"])
def test_the_largest_picture_takes_bounded_memory(kind: str, tmp_path: Path) -> None:
    side = 5000 if kind in ("RGBA WebP", "RGBA AVIF") else 7900
    made = {
        "RGBA PNG": lambda: png(side, side, 8, 6, b"\x09\x09\x09\xc8" * side),
        "palette PNG": lambda: png(side, side, 8, 3, bytes(side), chunk(b"PLTE", bytes(6)), chunk(b"tRNS", b"\x80")),
        "progressive JPEG": lambda: saved(plain("RGB", SKIN, (side, side)), "JPEG", progressive=True),
        "GIF": lambda: saved(plain("L", 9, (side, side)), "GIF"),
        "RGBA WebP": lambda: saved(plain("RGBA", (*SKIN, 200), (side, side)), "WEBP", lossless=True, method=0),
        "RGBA AVIF": lambda: saved(plain("RGBA", (*SKIN, 200), (side, side)), "AVIF", speed=10, subsampling="4:4:4"),
    }
    (tmp_path / "large").write_bytes(made[kind]())
    ran = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / "large")], capture_output=True, text=True, timeout=100, check=True
    )
    assert int(ran.stdout) < 450  # MB


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_a_picture_that_is_decoded_in_one_go_has_lower_limits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(plain("L", 9, (5001, 5000)), kind, **({"method": 0} if kind == "WEBP" else {"speed": 10}))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(PortraitError, match=r"of 5001x5000, which is of more than 25 megapixels; scale it down$"):
        portrait_in(data, SIZE, "me")
    with pytest.raises(PortraitError, match=r"of more than 24 MB; scale it down$"):
        portrait_in(data + bytes(24 << 20), SIZE, "me")
