"""Make sound files for tests: a voice-like tone in every container and sample format, whole or damaged."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from typing import Any

import av
import numpy as np

RATE = 48_000


def warble(seconds: float = 3.0, rate: int = RATE, loud: float = 0.3) -> np.ndarray:
    """Return a tone [samples] float32 that comes and goes twice a second, as syllables do."""
    t = np.arange(round(seconds * rate)) / rate
    return (loud * np.sin(2 * np.pi * 220 * t) * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1)).astype(np.float32)


def clicks(seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Return [samples] float32 with 2 ms of noise at each quarter of a second, so that a shift in time is visible."""
    out = np.zeros(round(seconds * rate), np.float32)
    burst = np.random.default_rng(0).uniform(-0.8, 0.8, rate // 500).astype(np.float32)
    for at in np.arange(0.25, seconds - 0.1, 0.25):
        out[round(at * rate) :][: len(burst)] = burst
    return out


def encoded(
    kind: str, codec: str, sound: np.ndarray, rate: int = RATE, layout: str = "stereo", **options: Any
) -> bytes:
    """Return a file of a container `kind` and a codec; `sound` is [samples] or [channels, samples]."""
    out = io.BytesIO()
    channels = len(av.AudioLayout(layout).channels)
    values = np.broadcast_to(sound, (channels, sound.shape[-1])).astype(np.float32)
    with av.open(out, "w", format=kind, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64_000 * channels
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(values), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, layout, rate, size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(piece))
        file.mux(stream.encode(None))
    return out.getvalue()


def wav(samples: np.ndarray, rate: int = RATE, tag: int = 1, data_bytes: int | None = None) -> bytes:
    """Return a WAV file of [samples, channels] in their own dtype; its header claims `data_bytes` of data."""
    values = samples if samples.ndim == 2 else samples[:, None]
    block = values.shape[1] * values.dtype.itemsize
    body = values.tobytes()
    size = len(body) if data_bytes is None else data_bytes
    form = struct.pack("<HHIIHH", tag, values.shape[1], rate, rate * block, block, 8 * values.dtype.itemsize)
    riff = struct.pack("<I", min(0xFFFFFFFF, 36 + size))
    return b"RIFF" + riff + b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", size) + body


def pcm(sound: np.ndarray, rate: int = RATE) -> bytes:
    """Return a WAV file of 16 bits of sound in −1…1, [samples] or [samples, channels]."""
    return wav((np.clip(sound, -1, 1) * 32767).astype("<i2"), rate)


def zeroed(data: bytes, at: float = 0.5, count: int = 2048) -> bytes:
    """Return a file with `count` bytes of zeros from the fraction `at` of it on."""
    begin = int(at * len(data))
    return data[:begin] + bytes(count) + data[begin + count :]


def with_cover(data: bytes) -> bytes:
    """Return an MP3 with an ID3v2.3 tag that has a title and a picture before it."""
    picture = b"\0image/png\0\x03\0\x89PNG\r\n\x1a\n" + bytes(2000)
    frames = b"".join(
        name + struct.pack(">IH", len(body), 0) + body for name, body in ((b"TIT2", b"\0voice"), (b"APIC", picture))
    )
    size = len(frames)
    synchsafe = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + synchsafe + frames + data
