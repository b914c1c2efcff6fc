"""Measure the way from latents to packets: codecs, copies, conversion, encoders, and how far they overlap drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from app.device_check.rollouts import Running, built
from app.device_check.sizes import Size, Sizes
from app.device_check.timing import Figures, milliseconds, seconds, tried
from models.codecs.codec import Codec
from models.codecs.stream import DecodeStream, Memory
from models.codecs.tiny import TinyCodec
from models.codecs.tiny_configs import TAE


def codecs(sizes: Sizes, device: torch.device) -> Figures:
    """Time TAEHV and Wan's own codec: decoding a chunk in several precisions, encoding it, and the memory of it."""
    found: Figures = {}
    for channels in TAE:
        found[f"tae {channels}"] = tried(partial(_tae, channels, sizes, device))
        if sizes.wan:
            found[f"wan {channels}"] = tried(partial(_wan, channels, sizes, device))
    return found


def _tae(channels: int, sizes: Sizes, device: torch.device) -> Figures:
    """Measure TAEHV for latents of so many channels: as it is, with a lower precision, laid out anew, compiled."""
    codec = TinyCodec(TAE[channels]).to(device).eval()
    decoder = codec.decoder
    changes: dict[str, Callable[[], object]] = {
        "bf16": lambda: decoder.to(torch.bfloat16),
        "bf16, channels last": lambda: _lay_channels_last(decoder),
        "bf16, channels last, compiled": lambda: _compile(codec),
    }
    return _codec(codec, changes, sizes, device)


def _wan(channels: int, sizes: Sizes, device: torch.device) -> Figures:
    """Measure Wan's own codec for latents of so many channels: in float32 and with a decoder in bfloat16."""
    from models.codecs.wan import WanCodec, random_network

    codec = WanCodec(random_network(channels).to(device).eval())
    changes: dict[str, Callable[[], object]] = {"bf16": lambda: codec.lower(torch.bfloat16)}
    return _codec(codec, changes, sizes, device) | {"bf16 is harmless": codec.decodes_in == torch.bfloat16}


@torch.inference_mode()
def _codec(codec: Codec, changes: dict[str, Callable[[], object]], sizes: Sizes, device: torch.device) -> Figures:
    """Return the milliseconds to decode three latents of a stream that is under way, and what changes make of it."""
    width, height = sizes.main.size
    make = torch.Generator(device).manual_seed(0)
    shape = (1, codec.latent_channels, 3, height // codec.stride, width // codec.stride)
    latents = torch.randn(shape, generator=make, device=device)
    exact, memory = codec.decode(latents)
    calls = max(2, sizes.calls // 3)
    found: Figures = {
        "float32 ms": round(milliseconds(lambda: codec.decode(latents, memory), device, 1, calls), 3),
        "encode 9 frames in float32 ms": round(
            milliseconds(lambda: codec.encode_part(exact.clamp(0, 1)[:, -9:]), device, 0, 1), 3
        ),
    }
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        codec.decode(latents, memory)
        found["peak GB"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
    for name, change in changes.items():
        found[name] = tried(partial(_changed, codec, change, latents, exact, sizes, device))
    return found


def _lay_channels_last(network: nn.Module) -> None:
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _compile(codec: TinyCodec) -> None:
    """Have a codec decode by compiled code where a stream is under way; its first latents would be another graph.

    The layers are walked one by one (`models.codecs.tiny`), so that compiling the decoder as a module does nothing.
    """
    plain = codec.decode
    compiled = torch.compile(plain, dynamic=False)

    def decode(latents: Tensor, memory: Sequence[Tensor | str | None] | None = None) -> tuple[Tensor, Memory]:
        return (plain if memory is None else compiled)(latents, memory)

    codec.decode = decode  # type: ignore[method-assign]


def _changed(
    codec: Codec, change: Callable[[], object], latents: Tensor, exact: Tensor, sizes: Sizes, device: torch.device
) -> dict[str, float]:
    change()
    frames, memory = codec.decode(latents)
    ms = milliseconds(lambda: codec.decode(latents, memory), device, 2, max(2, sizes.calls // 3))
    error = (frames.float().clamp(0, 1) - exact.clamp(0, 1)).square().mean().clamp(min=1e-12)
    return {"ms": round(ms, 3), "dB": round(float(-10 * error.log10()), 1)}


def copies(sizes: Sizes, device: torch.device) -> Figures:
    """Time the way of a chunk's frames to the host: plain, by page-locked memory, and as YUV made on the device."""
    width, height = sizes.main.size
    frames = torch.randint(0, 256, (12, height, width, 3), device=device, dtype=torch.uint8)
    return {
        "plain ms": round(milliseconds(frames.cpu, device, sizes.warm, sizes.calls), 3),
        "page-locked ms": tried(lambda: round(_page_locked(frames, sizes, device), 3)),
        "RGB to YUV 4:2:0 on the device ms": round(
            milliseconds(lambda: _yuv(frames), device, sizes.warm, sizes.calls), 3
        ),
        "YUV differs from OpenCV's by": tried(lambda: _difference_of_yuv(frames)),
        "conversion by OpenCV on the host ms": tried(lambda: round(_opencv_ms(frames), 3)),
    }


def _page_locked(frames: Tensor, sizes: Sizes, device: torch.device) -> float:
    place = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
    return milliseconds(lambda: place.copy_(frames, non_blocking=True), device, sizes.warm, sizes.calls)


def _yuv(frames: Tensor) -> Tensor:
    """Return RGB frames [n, H, W, 3] uint8 as planes of YUV 4:2:0, [n, 3·H/2, W] uint8, by BT.601 in limited range."""
    r, g, b = frames.float().unbind(-1)
    y = 0.256788 * r + 0.504129 * g + 0.097906 * b + 16
    # OpenCV takes the colour of the upper left pixel of each four
    r, g, b = (plane[:, ::2, ::2] for plane in (r, g, b))
    u = -0.148223 * r - 0.290993 * g + 0.439216 * b + 128
    v = 0.439216 * r - 0.367788 * g - 0.071427 * b + 128
    planes = [plane.flatten(1) for plane in (y, u, v)]
    return torch.cat(planes, 1).round().clamp(0, 255).to(torch.uint8).unflatten(1, (-1, frames.shape[2]))


def _difference_of_yuv(frames: Tensor) -> int:
    import cv2

    ours = _yuv(frames[:1])[0].cpu().int()
    theirs = torch.from_numpy(cv2.cvtColor(frames[0].cpu().numpy(), cv2.COLOR_RGB2YUV_I420)).int()
    return int((ours - theirs).abs().max())


def _opencv_ms(frames: Tensor) -> float:
    import cv2

    host = frames.cpu().numpy()
    return 1000 * seconds(lambda: [cv2.cvtColor(f, cv2.COLOR_RGB2YUV_I420) for f in host], torch.device("cpu"))


def overlap(sizes: Sizes, device: torch.device) -> Figures:
    """Roll out with an encoder beside it: decoding in turn with drawing, and on a stream of its own."""
    run = Running(built(sizes.main.entry, device), sizes.main.size)
    run.fill()
    alone = run.fps(sizes.chunks)
    encoder = tried(lambda: _encoder(sizes.main.size, "libx264"))
    found: Figures = {"fps without an encoder": round(alone, 2)}
    with ThreadPoolExecutor(1) as pool:
        if isinstance(encoder, str):
            found["fps with x264 beside"] = encoder
        else:
            began_with = partial(_encoded, encoder)
            rate = _rate(run, sizes.chunks, lambda: pool.submit(began_with, run.chunk()))
            found["fps with x264 beside"] = round(rate, 2)
    if device.type == "cuda":
        found["fps, decoded on a stream of its own"] = tried(lambda: round(_rate_apart(run, sizes.chunks), 2))
    return found


def _rate(run: Running, chunks: int, draw: Callable[[], Future[None]]) -> float:
    def all_of_them() -> None:
        for one in [draw() for _ in range(chunks)]:
            one.result()

    return chunks * run.model.entry.rollout.grid.frames / seconds(all_of_them, run.device)


@torch.inference_mode()
def _rate_apart(run: Running, chunks: int) -> float:
    """Return the frames a second where a chunk's frames are decoded and copied beside its clean pass and the next."""
    generator, decoding = run.model.generator, torch.cuda.Stream(run.device)
    drawing = torch.cuda.current_stream(run.device)
    held: list[tuple[Tensor, Tensor]] = []
    stream = DecodeStream(generator.codec)

    def rolled() -> None:
        for _ in range(chunks):
            latents = generator.draw(run.state)
            decoding.wait_stream(drawing)
            with torch.cuda.stream(decoding):
                frames = stream.frames(latents)
                place = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=True)
                place.copy_(frames, non_blocking=True)
                latents.record_stream(decoding)
            held.append((frames, place))
            generator.commit(run.state)
        decoding.synchronize()

    return chunks * run.model.entry.rollout.grid.frames / seconds(rolled, run.device)


def encoders(sizes: Sizes, device: torch.device) -> Figures:
    """Say which H.264 encoders open here, and what a frame takes them."""
    width, height = sizes.main.size
    frame = torch.randint(0, 256, (1, height, width, 3), dtype=torch.uint8)
    found: Figures = {}
    for name in ("libx264", "h264_nvenc"):

        def timed(name: str = name) -> float:
            encoder = _encoder((width, height), name)
            _encoded(encoder, frame)
            return round(1000 * seconds(lambda: _encoded(encoder, frame), torch.device("cpu")), 3)

        found[f"{name} ms a frame"] = tried(timed)
    return found


def _encoder(size: Size, name: str) -> Any:
    import av

    codec = av.CodecContext.create(name, "w")
    codec.width, codec.height = size if name == "libx264" else (max(size[0], 256), max(size[1], 256))
    codec.pix_fmt, codec.framerate, codec.time_base = "yuv420p", Fraction(16), Fraction(1, 16)
    if name == "libx264":
        codec.options = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline"}
    codec.open()
    return codec


def _encoded(encoder: Any, frames: Tensor) -> None:
    import av

    for picture in frames.numpy():
        encoder.encode(
            av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(encoder.width, encoder.height, "yuv420p")
        )
