"""Make pictures, films, masks and LoRAs as strangers send them: damaged, lying, huge, or only unusual."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from films import with_matrix
from loras import lora_tensors
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from models.transformer import CausalWanTransformer


@dataclass(frozen=True)
class Case:
    """Hold a file that is sent: what it is, its bytes, whether a take can use it, and whether it is costly."""

    name: str
    make: Callable[[], bytes]
    used: bool = False
    heavy: bool = False


def cases(folder: Path, transformer: CausalWanTransformer) -> list[Case]:
    """Return all cases; films are written into `folder`, LoRAs are for this model."""
    return [*pictures(), *films(folder), *loras(transformer), *others()]


# -- pictures -----------------------------------------------------------------------------------------------------


def image(width: int = 48, height: int = 40, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(picture: Image.Image, kind: str, **how: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 0, rows: int | None = None, extra: bytes = b""
) -> bytes:
    """Return a PNG of zeros that says it has this size, and has `rows` rows (None: all)."""
    row = 1 + (width * bits * {0: 1, 2: 3, 4: 2, 6: 4}[colour] + 7) // 8
    packer, data = zlib.compressobj(9), b""
    for _ in range(height if rows is None else rows):
        data += packer.compress(bytes(row))
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IDAT", data + packer.flush())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return saved(image(), "JPEG", exif=tags)


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def sixteen(channels: int) -> bytes:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 48, channels), np.uint16)
    return cv2.imencode(".png", deep)[1].tobytes()


def animated(kind: str, frames: int = 5) -> bytes:
    first, *rest = (image(48, 40).rotate(7 * i) for i in range(frames))
    return saved(first, kind, save_all=True, append_images=rest, duration=50)


def pictures() -> Iterator[Case]:
    plain, jpeg, gif, webp = (saved(image(), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP"))
    for cut in (8, 16, 33, 60, len(plain) // 2, len(plain) - 13):
        yield Case(f"PNG cut at {cut}", lambda cut=cut: plain[:cut])  # type: ignore[misc]
    for cut in (3, 20, 200, len(jpeg) // 2):
        yield Case(f"JPEG cut at {cut}", lambda cut=cut: jpeg[:cut])  # type: ignore[misc]
    for cut in (6, 13, 800):
        yield Case(f"GIF cut at {cut}", lambda cut=cut: gif[:cut])  # type: ignore[misc]
    for cut in (12, 30, len(webp) // 2):
        yield Case(f"WebP cut at {cut}", lambda cut=cut: webp[:cut])  # type: ignore[misc]
    yield Case("PNG with a wrong checksum", lambda: plain[:30] + b"xxxx" + plain[34:])
    yield Case("PNG that says 100000x100000", lambda: png(100000, 100000, rows=1))
    yield Case("PNG that says 0x0", lambda: png(0, 0, rows=0))
    yield Case("PNG with fewer rows than it says", lambda: png(64, 64, rows=9), used=True)  # as browsers do
    yield Case("PNG with more rows than it says", lambda: png(64, 64, rows=9000), used=True)
    yield Case("PNG of 400 megapixels, a bomb", lambda: png(20000, 20000, bits=1), heavy=True)
    yield Case("PNG of 100 megapixels", lambda: png(10000, 10000), heavy=True)
    yield Case("PNG of 60 megapixels", lambda: png(10000, 6000), used=True, heavy=True)
    bomb = zlib.compress(bytes(64 << 20), 9)
    yield Case("PNG with 64 MB of packed text", lambda: png(64, 64, extra=chunk(b"zTXt", b"a\0\0" + bomb)))
    yield Case("PNG with 64 MB of packed profile", lambda: png(64, 64, extra=chunk(b"iCCP", b"a\0\0" + bomb)))
    yield Case("PNG with 20000 texts", lambda: png(64, 64, extra=chunk(b"tEXt", b"a\0b") * 20000), used=True)
    yield Case("PNG with a zip behind it", lambda: plain + zipped(b"x"), used=True)
    yield Case("PNG of 16 bits, grey", lambda: sixteen(1), used=True)
    yield Case("PNG of 16 bits, colour", lambda: sixteen(3), used=True)
    yield Case("PNG of 16 bits with alpha", lambda: sixteen(4), used=True)
    yield Case("PNG of 1 bit", lambda: png(64, 64, bits=1), used=True)
    yield Case("PNG with a palette and transparency", lambda: saved(image(mode="P"), "PNG", transparency=3), used=True)
    yield Case("PNG of grey with alpha", lambda: saved(image(mode="LA"), "PNG"), used=True)
    yield Case("PNG that is transparent everywhere", lambda: png(64, 64, colour=6))
    yield Case("PNG that is animated", lambda: animated("PNG"), used=True)
    yield Case("PNG of 1x1", lambda: png(1, 1))
    yield Case("PNG of 1x10000", lambda: png(1, 10000))
    yield Case("PNG of 33x17", lambda: saved(image(33, 17), "PNG"), used=True)
    for orientation in range(1, 9):
        yield Case(f"JPEG that lies as {orientation}", lambda n=orientation: exif(n), used=True)  # type: ignore[misc]
    yield Case("JPEG with an orientation of 9", lambda: exif(9), used=True)
    yield Case(
        "JPEG with EXIF data of noise", lambda: saved(image(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 99), used=True
    )
    yield Case("JPEG in CMYK", lambda: saved(image(mode="CMYK"), "JPEG"), used=True)
    yield Case("JPEG in grey", lambda: saved(image(mode="L"), "JPEG"), used=True)
    yield Case("JPEG that is progressive", lambda: saved(image(), "JPEG", progressive=True), used=True)
    yield Case("JPEG that says 65535x65535", lambda: with_size(jpeg, 65535, 65535))
    yield Case("JPEG that says 0x0", lambda: with_size(jpeg, 0, 0))
    yield Case("JPEG that gives its size twice", lambda: jpeg[:2] + jpeg[jpeg.index(b"\xff\xc0") :][:19] + jpeg[2:])
    scans = saved(image(), "JPEG", progressive=True)
    scan = scans[scans.rindex(b"\xff\xda") : -2]
    yield Case("JPEG of 1.5 million passes", lambda: scans[:-2] + scan[:20] * 1_500_000, heavy=True)
    yield Case("GIF that is animated", lambda: animated("GIF"), used=True)
    yield Case("GIF that says 65535x65535", lambda: gif[:6] + b"\xff\xff\xff\xff" + gif[10:])
    yield Case("WebP that is animated", lambda: animated("WEBP"), used=True)
    yield Case("WebP without loss", lambda: saved(image(), "WEBP", lossless=True), used=True)
    yield Case("AVIF", lambda: saved(image(64, 64), "AVIF"), used=True)
    yield Case("AVIF that is cut", lambda: saved(image(64, 64), "AVIF")[:300])
    for kind in ("TIFF", "BMP", "ICO", "PPM", "TGA", "PCX"):
        yield Case(f"{kind} picture", lambda kind=kind: saved(image(), kind))  # type: ignore[misc]


# -- films --------------------------------------------------------------------------------------------------------


def film(
    path: Path,
    *,
    size: tuple[int, int] = (48, 32),
    frames: int = 12,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    times: Callable[[int], int] = lambda n: n,
    rate: int = 16,
    sizes: list[tuple[int, int]] | None = None,
) -> bytes:
    """Return a film whose picture n is shown at `times(n)` ticks of 1/rate s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, pixels  # type: ignore[assignment]
        for n in range(frames):
            width, height = size if sizes is None else sizes[n % len(sizes)]
            picture = av.VideoFrame.from_ndarray(np.full((height, width, 3), 9 * n % 256, np.uint8), format="rgb24")
            picture.pts = times(n)
            container.mux(stream.encode(picture.reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path.read_bytes()


def sound_alone(path: Path) -> bytes:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        heard = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        heard.sample_rate = 16000
        container.mux(stream.encode(heard))
        container.mux(stream.encode(None))
    return path.read_bytes()


def replaced(data: bytes, box: bytes, at: int, value: bytes) -> bytes:
    """Return an MP4 with bytes of the first box of that name replaced, `at` counting from behind its name."""
    begin = data.index(box) + len(box) + at
    return data[:begin] + value + data[begin + len(value) :]


def films(folder: Path) -> Iterator[Case]:
    mp4 = film(folder / "plain.mp4")
    mkv = film(folder / "plain.mkv")
    avi = film(folder / "plain.avi", codec="mjpeg", pixels="yuvj420p")
    for name, data in (("MP4", mp4), ("Matroska", mkv), ("AVI", avi)):
        for share in (0.02, 0.3):
            cut = int(share * len(data))
            yield Case(f"{name} film cut at {share:.0%}", lambda data=data, cut=cut: data[:cut])  # type: ignore[misc]
    yield Case("MP4 film without pictures' data", lambda: mp4.replace(mp4[mp4.index(b"mdat") + 4 :][:60], b""))
    yield Case("MP4 film of noise", lambda: replaced(mp4, b"mdat", 0, b"\xff" * 300))
    yield Case("MP4 film with sound alone", lambda: sound_alone(folder / "sound.mp4"))
    vfr = "MP4 film of a variable rate"
    yield Case(vfr, lambda: film(folder / "v.mp4", times=lambda n: n * n, rate=90), used=True)
    yield Case("MP4 film of one picture", lambda: film(folder / "1.mp4", frames=1), used=True)
    yield Case("MP4 film of 1000 pictures a second", lambda: film(folder / "k.mp4", rate=1000, frames=90), used=True)
    yield Case("MP4 film of one picture in 20 s", lambda: film(folder / "s.mp4", times=lambda n: 320 * n), used=True)
    yield Case("MP4 film of 33x17", lambda: film(folder / "o.mp4", size=(33, 17), pixels="yuv444p"), used=True)
    yield Case("MP4 film of 10 bits", lambda: film(folder / "t.mp4", pixels="yuv420p10le"), used=True)
    yield Case("MP4 film in grey", lambda: film(folder / "g.mp4", pixels="gray"), used=True)
    yield Case(
        "MP4 film that begins after a day", lambda: film(folder / "d.mp4", times=lambda n: n + 16 * 86400), used=True
    )
    yield Case(
        "MP4 film that says it lasts for years", lambda: replaced(mp4, b"mvhd", 16, b"\x7f\xff\xff\xff"), used=True
    )
    yield Case(
        "MP4 film that says it is 65535 wide", lambda: replaced(mp4, b"tkhd", 76, b"\xff\xff\0\0" * 2), used=True
    )
    yield Case("MP4 film with 2^32 samples said", lambda: replaced(mp4, b"stsz", 8, b"\xff\xff\xff\xff"))
    yield Case("MP4 film with a box longer than it", lambda: replaced(mp4, b"moov", -8, b"\x7f\xff\xff\xff"), used=True)
    yield Case("MP4 film of 4100x2400", lambda: film(folder / "l.mp4", size=(4100, 2400), frames=1), heavy=True)
    huge = png(16000, 16000)
    yield Case("QuickTime film of pictures of 256 megapixels", lambda: muxed(folder / "h.mov", "png", "gray", huge))
    sizes = [(48, 32), (320, 240), (16, 16)]
    yield Case("AVI film whose size changes", lambda: jpegs(folder / "c.avi", sizes), used=True)
    yield Case("AVI film with a picture of 65500x65500", lambda: jpegs(folder / "h.avi", [(48, 32)], lie=True))
    yield Case("WebM film", lambda: film(folder / "w.webm", codec="libvpx-vp9"), used=True)
    yield Case(
        "WebM film with alpha", lambda: film(folder / "a.webm", codec="libvpx-vp9", pixels="yuva420p"), used=True
    )
    yield Case("MPEG film", lambda: film(folder / "m.mpg", codec="mpeg1video", rate=25), used=True)
    yield Case("MPEG transport stream", lambda: film(folder / "m.ts"), used=True)
    yield Case("MPEG transport stream of noise", lambda: (b"\x47" + b"\xff" * 187) * 40)
    yield Case("QuickTime film with alpha", lambda: film(folder / "r.mov", codec="qtrle", pixels="argb"), used=True)
    mov = film(folder / "b.mov")
    unbranded = mov[: mov.index(b"ftyp")] + b"wide" + mov[mov.index(b"ftyp") + 4 :]
    yield Case("QuickTime film without brands", lambda: unbranded, used=True)
    for name, matrix in (("mirrored", (-1, 0, 0, 1)), ("of nothing", (0, 0, 0, 0)), ("huge", (-32768, 0, 0, 32767))):
        yield Case(f"MP4 film that is {name}", lambda m=matrix: with_matrix(mp4, *m), used=True)  # type: ignore[misc]
    yield Case("MP4 film in an unknown coding", lambda: mp4.replace(b"avc1", b"zzzz"))
    ts = film(folder / "b.ts")
    many = ts + b"".join(ts.replace(b"\x47\x41\0", b"\x47\x41" + bytes([n])) for n in range(1, 9))
    yield Case("MPEG transport stream of many tracks", lambda: many, used=True)
    yield Case("MP4 film at a slant", lambda: with_matrix(mp4, 0.866, 0.5, -0.5, 0.866))
    yield Case("FLV film", lambda: film(folder / "f.flv", codec="flv"))
    yield Case("playlist of the server's files", lambda: b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n")
    yield Case("list of the server's files", lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n")


def jpegs(path: Path, sizes: list[tuple[int, int]], *, lie: bool = False) -> bytes:
    """Return an AVI of JPEG pictures of these sizes, all of which with `lie` say that they are huge."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=16)
        stream.width, stream.height, stream.pix_fmt = *sizes[0], "yuvj420p"  # type: ignore[assignment]
        for n in range(12):
            data = saved(image(*sizes[n % len(sizes)]), "JPEG")
            packet = av.Packet(with_size(data, 65500, 65500) if lie else data)
            packet.stream, packet.pts, packet.dts = stream, n, n
            container.mux(packet)
    return path.read_bytes()


def muxed(path: Path, codec: str, pixels: str, picture: bytes) -> bytes:
    """Return a film that says it is of 48x32, of encoded pictures that may be of another size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pixels  # type: ignore[assignment]
        for n in range(6):
            packet = av.Packet(picture)
            packet.stream, packet.pts, packet.dts = stream, n, n
            container.mux(packet)
    return path.read_bytes()


# -- LoRAs --------------------------------------------------------------------------------------------------------


def headed(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def loras(transformer: CausalWanTransformer) -> Iterator[Case]:
    good = lora_tensors(transformer)
    down = next(iter(good))
    up, module = down.replace("lora_A", "lora_B"), down.partition(".lora")[0]

    def changed(**tensors: Tensor) -> bytes:
        return save(good | {{"down": down, "up": up}.get(k, k): v for k, v in tensors.items()})

    def keyed(tensors: dict[str, Tensor]) -> bytes:
        return save({k: v.contiguous() for k, v in tensors.items()})

    whole = save(good)
    yield Case("LoRA", lambda: whole, used=True)
    yield Case("LoRA in half precision", lambda: keyed({k: v.half() for k, v in good.items()}), used=True)
    yield Case("LoRA with an alpha of 0", lambda: changed(**{f"{module}.alpha": torch.tensor(0.0)}), used=True)
    for name, value in (("NaN", float("nan")), ("infinite", float("inf")), ("too large", 3e38)):
        yield Case(f"LoRA with a value that is {name}", lambda v=value: changed(down=torch.full_like(good[down], v)))  # type: ignore[misc]
        yield Case(
            f"LoRA with an alpha that is {name}", lambda v=value: changed(**{f"{module}.alpha": torch.tensor(v)})
        )  # type: ignore[misc]
    yield Case("LoRA whose ranks differ", lambda: changed(down=torch.ones(3, good[down].shape[1])))
    yield Case("LoRA of rank 0", lambda: changed(down=good[down][:0], up=good[up][:, :0]))
    yield Case("LoRA of a wider model", lambda: keyed({k: v.repeat(2, 2) for k, v in good.items()}))
    yield Case(
        "LoRA of a model of more blocks",
        lambda: keyed({k.replace("blocks.1", "blocks.39"): v for k, v in good.items()}),
    )
    yield Case("LoRA that lies on its side", lambda: keyed({k: v.t() for k, v in good.items()}))
    yield Case("LoRA with half a pair", lambda: keyed({k: v for k, v in good.items() if k != up}))
    yield Case("LoRA of numbers without shape", lambda: changed(down=torch.tensor(1.0)))
    yield Case("LoRA of five dimensions", lambda: changed(down=good[down][None, None, None]))
    yield Case("LoRA of whole numbers", lambda: changed(down=good[down].to(torch.int32)))
    yield Case("LoRA of truths", lambda: changed(down=good[down] > 0))
    yield Case("LoRA with a strange key", lambda: changed(strange=torch.ones(1)))
    lines = {f"{module}\n\x1b[31m.lora_A.weight": good[down].clone()}
    yield Case("LoRA with a key of two lines", lambda: changed(**lines))
    yield Case("LoRA with a key of 100 kB", lambda: changed(**{"x" * 100_000: torch.ones(1)}))
    yield Case("LoRA with 5000 strange keys", lambda: changed(**{f"x{n}": torch.ones(1) for n in range(5000)}))
    yield Case("LoHa", lambda: keyed({f"{module}.hada_w1_a": torch.ones(2, 2)}))
    yield Case("LoKr", lambda: keyed({f"{module}.lokr_w1": torch.ones(2, 2)}))
    yield Case("DoRA", lambda: changed(**{f"{module}.dora_scale": torch.ones(48)}))
    yield Case("whole model", lambda: keyed(dict(transformer.state_dict())))
    yield Case("embedding", lambda: keyed({"emb_params": torch.ones(4, 16)}))
    yield Case(
        "two LoRAs in one",
        lambda: keyed(
            {
                k.replace("lora_A", f"lora_A.{n}").replace("lora_B", f"lora_B.{n}"): v.clone()
                for n in "ab"
                for k, v in good.items()
            }
        ),
    )
    yield Case("safetensors without a tensor", lambda: headed({}))
    yield Case("safetensors whose header is no JSON", lambda: headed(b"{" + b"\xff" * 50))
    yield Case("safetensors whose header is cut", lambda: whole[:300])
    yield Case("safetensors whose data are cut", lambda: whole[:-100])
    yield Case("safetensors with bytes behind", lambda: whole + bytes(100))
    yield Case("safetensors with a header of 2^63 said", lambda: (1 << 63).to_bytes(8, "little") + whole[8:])
    yield Case("safetensors nested 100000 deep", lambda: headed(b'{"a":' * 100_000))
    facts = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    strange: list[tuple[str, dict[str, Any]]] = [
        ("a negative shape", {"shape": [-2, -2]}), ("a shape of 2^70", {"shape": [1 << 70, 1]}),
        ("a shape that does not fit", {"shape": [3, 3]}), ("an unknown type", {"dtype": "F99"}),
        ("offsets that run back", {"data_offsets": [16, 0]}),
        ("offsets beyond its end", {"data_offsets": [0, 1 << 40]}),
        ("no offsets", {"data_offsets": None}), ("a shape of texts", {"shape": ["2", "2"]}),
    ]  # fmt: skip
    for what, change in strange:
        yield Case(f"safetensors with {what}", lambda c=change: headed({down: facts | c}, bytes(16)))  # type: ignore[misc]
    yield Case("safetensors whose tensors overlap", lambda: headed({down: facts, up: facts}, bytes(16)))
    yield Case(
        "safetensors with metadata of numbers", lambda: headed({"__metadata__": {"a": 1}, down: facts}, bytes(16))
    )
    yield Case(
        "safetensors with a key twice",
        lambda: headed(f'{{"a": {json.dumps(facts)}, "a": {json.dumps(facts)}}}'.encode(), bytes(16)),
    )
    yield Case("pickle that runs a command", lambda: b"\x80\x04c" + b"os\nsystem\n(S'touch /tmp/x'\ntR.")
    yield Case("GGUF", lambda: b"GGUF\3\0\0\0" + bytes(64))


# -- and what is none of these ------------------------------------------------------------------------------------


def zipped(data: bytes, name: str = "a.png") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def others() -> Iterator[Case]:
    nested = bytes(1 << 20)
    for _ in range(5):
        nested = zipped(nested, "a.zip")
    yield Case("nothing", lambda: b"")
    yield Case("one byte", lambda: b"\x89")
    yield Case("zeros", lambda: bytes(5000))
    yield Case("text", lambda: b"a red ball")
    yield Case("HTML page", lambda: b"<!doctype html><script>alert(1)</script>")
    yield Case("SVG that reads a file", lambda: b"<svg xmlns='x'><image href='file:///etc/passwd'/></svg>")
    yield Case("PDF", lambda: b"%PDF-1.7\n")
    yield Case("program", lambda: b"\x7fELF" + bytes(60))
    yield Case("zip in a zip in a zip", lambda: nested)
    yield Case("zip of a picture", lambda: zipped(saved(image(), "PNG")))
    yield Case("gzip of a picture", lambda: gzip.compress(saved(image(), "PNG")))
    yield Case("sound", lambda: b"RIFF" + (36).to_bytes(4, "little") + b"WAVEfmt " + bytes(40))
