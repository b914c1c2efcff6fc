"""Write a live stream's packets as fragmented MP4 (ISO/IEC 14496-12 and -15), for WebSocket viewers and recordings.

The boxes are written here and not by a library: libavformat's muxer holds a packet back until it knows its duration,
and a viewer that joins needs the initialisation and a later fragment rather than a file.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import av

from streaming.live.pacing import TICKS

FRAGMENT = TICKS // 4  # ticks after which a fragment closes
LONGEST_GAP = TICKS // 2  # ticks between pictures that go on; after longer ones the viewer has skipped to the present
MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)  # neither turned nor scaled
START_CODE = re.compile(b"\x00\x00\x01")
SPS, PPS = 7, 8
KEY_SAMPLE, DEPENDENT_SAMPLE = 0x02000000, 0x01010000
SOUND_TICKS = 48_000  # a second, on an Opus track ("Encapsulation of Opus in ISO Base Media File Format")
BLOCK = SOUND_TICKS // 50  # ticks of a packet of sound


@dataclass(frozen=True)
class Fragment:
    """Hold moof + mdat. A fragment that begins with a keyframe can be played right after the initialisation."""

    data: bytes
    keyframe: bool


@dataclass(frozen=True)
class _Sample:
    pts: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True)
class _Run:
    """Hold consecutive samples of one track; the last one lasts `duration` ticks."""

    track: int
    samples: list[_Sample]
    duration: int


class Fmp4Muxer:
    """Turn the packets of a LiveEncoder into fragments; `init` and `codec` are empty until the first keyframe."""

    def __init__(self, width: int, height: int, fps: int, *, origin: int = 0, sound: bool = False) -> None:
        """Write encoded pictures of this size in pixels, `fps` a second; `origin` is the pts of the film's time 0.

        With `sound` there is a second track, for the packets of a SoundEncoder.
        """
        self.width, self.height, self.fps = width, height, fps
        self._has_sound = sound
        self._blocks: list[_Sample] = []  # of sound, in its own ticks
        self._origin = origin
        self.init = b""  # ftyp + moov
        self.codec = ""  # as MediaSource takes it, such as avc1.42c01e (RFC 6381)
        self._parameters: tuple[bytes, bytes] | None = None
        self._number = 0
        self._samples: list[_Sample] = []
        self._last = 0  # pts of the newest picture
        self._gap = self._frame  # ticks between the newest two, which is more where pictures are left out

    def add(self, packet: av.Packet) -> Fragment | None:
        """Add a packet; return the fragment that it closes, or None.

        A fragment closes when it lasts a quarter of a second, or before a keyframe. Decode times are the packets' pts
        (90 kHz) minus the origin. ValueError if the first packet is no keyframe, if time does not grow, or if the
        stream's parameters change.
        """
        units = _units(bytes(packet))
        if packet.is_keyframe:
            self._begin(_one(units, SPS), _one(units, PPS))
        elif self._parameters is None:
            raise ValueError("a stream begins with a keyframe")
        pts = packet.pts - self._origin
        if self._samples and pts <= self._samples[-1].pts:
            raise ValueError(f"time does not grow: {pts} after {self._samples[-1].pts}")
        if self._number or self._samples:
            self._gap = min(pts - self._last, max(self._frame, LONGEST_GAP))
        self._last = pts
        closed = self.flush() if packet.is_keyframe else None
        # the parameter sets stand in avcC; samples of an avc1 track must not contain them
        data = b"".join(struct.pack(">I", len(u)) + u for u in units if u[0] & 31 not in (SPS, PPS))
        self._samples.append(_Sample(pts, bool(packet.is_keyframe), data))
        if pts + self._gap - self._samples[0].pts >= FRAGMENT:
            return closed or self.flush()
        return closed

    def add_sound(self, packet: av.Packet) -> None:
        """Add a packet of sound to the next fragment; one that begins before the film is left out."""
        pts = (packet.pts - self._origin) * SOUND_TICKS // TICKS
        if self._parameters is not None and pts >= 0:
            self._blocks.append(_Sample(pts, keyframe=True, data=bytes(packet)))

    def flush(self) -> Fragment | None:
        """Return the packets that wait as a fragment, at a pause or the end; None if none wait."""
        if not self._samples:
            return None
        self._number += 1
        runs = [_Run(1, self._samples, self._gap)] + ([_Run(2, self._blocks, BLOCK)] if self._blocks else [])
        fragment = Fragment(_fragment(self._number, runs), self._samples[0].keyframe)
        self._samples, self._blocks = [], []
        return fragment

    @property
    def _frame(self) -> int:
        """Return the ticks of a frame where none is left out.

        What is written for a fragment's last frame is the time between the two frames before, as the next is not known.
        """
        return TICKS // self.fps

    def _begin(self, sps: bytes, pps: bytes) -> None:
        # an encode for a slow line may have a lower level, which the first one's parameters cover
        former = self._parameters or (sps, pps)
        if (_without_level(former[0]), former[1]) != (_without_level(sps), pps):
            raise ValueError("the stream's parameters have changed")
        if self._parameters is None:
            self._parameters = (sps, pps)
            self.init = _initialisation(self.width, self.height, sps, pps, sound=self._has_sound)
            self.codec = f"avc1.{sps[1:4].hex()}" + (",opus" if self._has_sound else "")


def _units(data: bytes) -> list[bytes]:
    """Return the NAL units of an Annex B packet, without the zeros at their ends, which belong to start codes."""
    return [unit.rstrip(b"\x00") for unit in START_CODE.split(data)[1:]]


def _without_level(sps: bytes) -> bytes:
    """Return a sequence parameter set without its level_idc (ITU-T H.264, 7.3.2.1.1)."""
    return sps[:3] + sps[4:]


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


def _initialisation(width: int, height: int, sps: bytes, pps: bytes, *, sound: bool) -> bytes:
    """Return ftyp + moov: a video track without samples, and one of sound if there is any."""
    avcc = _box(
        b"avcC",
        struct.pack(">B3sBBH", 1, sps[1:4], 0xFF, 0xE1, len(sps)) + sps,  # lengths of 4 bytes, one SPS
        struct.pack(">BH", 1, len(pps)) + pps,
    )
    picture = struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 72 << 16, 72 << 16, 0, 1, 24, -1)
    tracks = [_track(1, TICKS, b"vide", _full(b"vmhd", 0, 1, bytes(8)), _box(b"avc1", picture, avcc), (width, height))]
    if sound:
        # mono, no look-ahead to skip: times are given as they are
        described = _box(b"dOps", struct.pack(">BBHIhB", 0, 1, 0, SOUND_TICKS, 0, 0))
        block = struct.pack(">6xH8xHH4xI", 1, 1, 16, SOUND_TICKS << 16)
        tracks.append(_track(2, SOUND_TICKS, b"soun", _full(b"smhd", 0, 0, bytes(4)), _box(b"Opus", block, described)))
    movie = struct.pack(">8xIIIH10x", TICKS, 0, 0x10000, 0x100) + MATRIX + struct.pack(">24xI", len(tracks) + 1)
    extends = [_full(b"trex", 0, 0, struct.pack(">5I", i + 1, 1, 0, 0, 0)) for i in range(len(tracks))]
    return _box(b"ftyp", b"iso5", struct.pack(">I", 512), b"iso5iso6mp41") + _box(
        b"moov", _full(b"mvhd", 0, 0, movie), *tracks, _box(b"mvex", *extends)
    )


def _track(
    number: int, ticks: int, kind: bytes, head: bytes, entry: bytes, size: tuple[int, int] | None = None
) -> bytes:
    """Return a track without samples; a track of sound has no size and full volume."""
    table = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        _full(b"stts", 0, 0, bytes(4)),
        _full(b"stsc", 0, 0, bytes(4)),
        _full(b"stsz", 0, 0, bytes(8)),
        _full(b"stco", 0, 0, bytes(4)),
    )
    here = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1)))
    media = _box(
        b"mdia",
        _full(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, ticks, 0, 0x55C4, 0)),  # language: und
        _full(b"hdlr", 0, 0, struct.pack(">4x4s12xx", kind)),
        _box(b"minf", head, here, table),
    )
    width, height = size or (0, 0)
    volume = struct.pack(">8x4xHxx", 0 if size else 0x100)
    place = struct.pack(">8xI8x", number) + volume + MATRIX + struct.pack(">II", width << 16, height << 16)
    return _box(b"trak", _full(b"tkhd", 0, 3, place), media)


def _fragment(number: int, runs: list[_Run]) -> bytes:
    """Return moof + mdat of the runs, one track after another."""

    def moof(offset: int) -> bytes:
        trafs = []
        for run in runs:
            trafs.append(_traf(run, offset))
            offset += sum(len(s.data) for s in run.samples)
        return _box(b"moof", _full(b"mfhd", 0, 0, struct.pack(">I", number)), *trafs)

    return moof(len(moof(0)) + 8) + _box(b"mdat", *(s.data for run in runs for s in run.samples))


def _traf(run: _Run, offset: int) -> bytes:
    samples = run.samples
    ends = [s.pts for s in samples[1:]] + [samples[-1].pts + run.duration]
    entries = b"".join(
        struct.pack(">III", end - s.pts, len(s.data), KEY_SAMPLE if s.keyframe else DEPENDENT_SAMPLE)
        for s, end in zip(samples, ends, strict=True)
    )
    return _box(
        b"traf",
        _full(b"tfhd", 0, 0x020000, struct.pack(">I", run.track)),  # offsets count from the moof
        _full(b"tfdt", 1, 0, struct.pack(">Q", samples[0].pts)),
        _full(b"trun", 0, 0x000701, struct.pack(">Ii", len(samples), offset), entries),
    )
