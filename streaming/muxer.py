"""Fragmented MP4 (ISO/IEC 14496-12 and -15) out of a live stream's own packets, for a page without WebRTC.

The boxes are written here: a muxer that owns its output would hold packets back to learn their duration, and a viewer
who joins needs the first box and a later fragment, not a file.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import av

from streaming.pacing import TICKS

FRAGMENT = TICKS // 4  # after which a fragment closes
MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)  # neither turned nor scaled
START_CODE = re.compile(b"\x00\x00\x01")
SPS, PPS = 7, 8
KEY_SAMPLE, DEPENDENT_SAMPLE = 0x02000000, 0x01010000


@dataclass(frozen=True)
class Fragment:
    """moof + mdat. One that begins with a keyframe plays right after the initialisation."""

    data: bytes
    keyframe: bool


@dataclass(frozen=True)
class _Sample:
    pts: int
    keyframe: bool
    data: bytes


class FragmentMuxer:
    """Packets of a LiveEncoder become fragments; `init` and `codec` are empty until the first keyframe."""

    def __init__(self, width: int, height: int, fps: int, *, origin: int = 0) -> None:
        """Size of the encoded pictures in pixels, frames a second, and the pts that is the film's time 0."""
        self.width, self.height, self.fps = width, height, fps
        self._origin = origin
        self.init = b""  # ftyp + moov
        self.codec = ""  # as MediaSource has it, such as avc1.42c01e (RFC 6381)
        self._parameters: tuple[bytes, bytes] | None = None
        self._number = 0
        self._samples: list[_Sample] = []

    def add(self, packet: av.Packet) -> Fragment | None:
        """A fragment if this packet closes one: it fills a quarter of a second, or is a keyframe, which opens the next.

        Decode times are the packets' pts (90 kHz) after the origin. ValueError if the first packet is no keyframe, if time does not
        grow, or if the stream's parameters change.
        """
        units = _units(bytes(packet))
        if packet.is_keyframe:
            self._begin(_one(units, SPS), _one(units, PPS))
        elif self._parameters is None:
            raise ValueError("a stream begins with a keyframe")
        pts = packet.pts - self._origin
        if self._samples and pts <= self._samples[-1].pts:
            raise ValueError(f"time does not grow: {pts} after {self._samples[-1].pts}")
        closed = self.flush() if packet.is_keyframe else None
        # the parameter sets stand in avcC; in the samples of an avc1 track they have no place
        data = b"".join(struct.pack(">I", len(u)) + u for u in units if u[0] & 31 not in (SPS, PPS))
        self._samples.append(_Sample(pts, bool(packet.is_keyframe), data))
        if pts + self._frame - self._samples[0].pts >= FRAGMENT:
            return closed or self.flush()
        return closed

    def flush(self) -> Fragment | None:
        """What waits, at a pause or the end."""
        if not self._samples:
            return None
        self._number += 1
        fragment = Fragment(_fragment(self._number, self._samples, self._frame), self._samples[0].keyframe)
        self._samples = []
        return fragment

    @property
    def _frame(self) -> int:
        """A frame's ticks. The last frame of a fragment lasts so long, as the next one is not there yet."""
        return TICKS // self.fps

    def _begin(self, sps: bytes, pps: bytes) -> None:
        if self._parameters not in (None, (sps, pps)):
            raise ValueError("the stream's parameters have changed")
        if self._parameters is None:
            self._parameters = (sps, pps)
            self.init = _initialisation(self.width, self.height, sps, pps)
            self.codec = f"avc1.{sps[1:4].hex()}"


def _units(data: bytes) -> list[bytes]:
    """The NAL units of an Annex B packet. None of them ends in a zero: those belong to the next start code."""
    return [unit.rstrip(b"\x00") for unit in START_CODE.split(data)[1:]]


def _one(units: list[bytes], kind: int) -> bytes:
    for unit in units:
        if unit[0] & 31 == kind:
            return unit
    raise ValueError("a keyframe without its parameter sets")


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags), *parts)


def _initialisation(width: int, height: int, sps: bytes, pps: bytes) -> bytes:
    """ftyp + moov: one video track without samples."""
    avcc = _box(
        b"avcC",
        struct.pack(">B3sBBH", 1, sps[1:4], 0xFF, 0xE1, len(sps)) + sps,  # lengths of 4 bytes, one SPS
        struct.pack(">BH", 1, len(pps)) + pps,
    )
    entry = struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 72 << 16, 72 << 16, 0, 1, 24, -1)
    table = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack(">I", 1), _box(b"avc1", entry, avcc)),
        _full(b"stts", 0, 0, bytes(4)),
        _full(b"stsc", 0, 0, bytes(4)),
        _full(b"stsz", 0, 0, bytes(8)),
        _full(b"stco", 0, 0, bytes(4)),
    )
    here = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, TICKS, 0, 0x55C4, 0)),  # language: und
        _full(b"hdlr", 0, 0, struct.pack(">4x4s12xx", b"vide")),
        _box(b"minf", _full(b"vmhd", 0, 1, bytes(8)), here, table),
    )
    track = _full(b"tkhd", 0, 3, struct.pack(">8xI24x", 1), MATRIX, struct.pack(">II", width << 16, height << 16))
    movie = struct.pack(">8xIIIH10x", TICKS, 0, 0x10000, 0x100) + MATRIX + struct.pack(">24xI", 2)
    return _box(b"ftyp", b"iso5", struct.pack(">I", 512), b"iso5iso6mp41") + _box(
        b"moov",
        _full(b"mvhd", 0, 0, movie),
        _box(b"trak", track, media),
        _box(b"mvex", _full(b"trex", 0, 0, struct.pack(">5I", 1, 1, 0, 0, 0))),
    )


def _fragment(number: int, samples: list[_Sample], frame: int) -> bytes:
    """moof + mdat of the samples; the last one lasts `frame` ticks."""
    ends = [s.pts for s in samples[1:]] + [samples[-1].pts + frame]
    entries = b"".join(
        struct.pack(">III", end - s.pts, len(s.data), KEY_SAMPLE if s.keyframe else DEPENDENT_SAMPLE)
        for s, end in zip(samples, ends, strict=True)
    )

    def moof(offset: int) -> bytes:
        return _box(
            b"moof",
            _full(b"mfhd", 0, 0, struct.pack(">I", number)),
            _box(
                b"traf",
                _full(b"tfhd", 0, 0x020000, struct.pack(">I", 1)),  # offsets count from the moof
                _full(b"tfdt", 1, 0, struct.pack(">Q", samples[0].pts)),
                _full(b"trun", 0, 0x000701, struct.pack(">Ii", len(samples), offset), entries),
            ),
        )

    return moof(len(moof(0)) + 8) + _box(b"mdat", *(s.data for s in samples))
