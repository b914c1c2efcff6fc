"""Decode sound files of many kinds packet by packet; damaged parts are skipped, and the loss is measured.

Time is kept: where packets are missing and the file says so by its time stamps, silence stands in their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from models.errors import UserError
from streaming.speech.format_name import HEAD, format_name
from streaming.speech.sound_header import declared_seconds, is_encrypted

# nothing that names other files or addresses, such as a playlist: what is read may have come over the network
KINDS = "wav,w64,aiff,au,caf,mp3,aac,ac3,flac,ogg,matroska,webm,mov,mp4,asf,amr,avi"
MOST_SECONDS = 4 * 3600  # of a sound; ten minutes of silence take a few kilobytes in some formats
RATES = (4000, 384_000)  # samples a second, lowest and highest
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}  # by channels
GAP = 0.03  # seconds between time stamp and sound from which something is missing; some formats count in milliseconds
MOST_GAP = 30.0  # seconds of silence that stand for missing sound; beyond that time stamps have jumped
NOTABLE = 0.05  # seconds of loss below which nothing is said: an encoder's delay is as long
MOST_RETRIES = 100  # errors in a row while packets are looked for
LOUDEST = 65_536.0  # times full scale that a float may be: integers that were written as floats
POINTERS = 8  # planes of a frame from which PyAV 18 reads beyond their list
BLOCK = 8192  # samples that `SoundFile.blocks` yields at a time, about

Channels = NDArray[np.float32]  # [channels, samples], −1…1 but for what a float format holds beyond


class SpeechError(UserError):
    """Report, in one line for a person, a sound that cannot be used."""


@dataclass
class SoundFacts:
    """Hold what one pass over a sound file found."""

    rate: int = 0  # samples a second
    names: tuple[str, ...] = ()  # of the channels, such as FL, FR, LFE
    codec: str = ""
    streams: int = 1  # of sound in the file
    samples: int = 0  # decoded, and silence for what is missing
    begins: float = 0.0  # time stamp of the first sample, in seconds
    declared: float | None = None  # seconds that the file's header promises
    filled: float = 0.0  # seconds of silence that stand for missing sound
    failed: int = 0  # packets that could not be decoded
    jumps: int = 0  # time stamps that jump by more than MOST_GAP
    broken: int = 0  # samples that were no numbers, or beyond LOUDEST
    peak: float = 0.0  # of the samples, 1 being full scale; floats may exceed it

    @property
    def seconds(self) -> float:
        return self.samples / self.rate if self.rate else 0.0

    @property
    def intact(self) -> bool:
        """Return whether every packet was decoded and all of them follow one another."""
        return not (self.filled or self.failed or self.jumps or self.broken)

    def notes(self) -> list[str]:
        """Return what a person should know, a line each."""
        out = []
        missing = max(0.0, (self.declared or 0.0) - self.seconds)
        lost = self.filled + missing
        if lost > NOTABLE or self.failed:
            whole = f"{max(self.declared or 0.0, self.seconds):.1f} s"
            left = "silent" if self.filled > missing else "left out"
            if missing > NOTABLE and not self.filled and not self.failed:
                out.append(f"the file breaks off: {self.seconds:.1f} s of {whole} are there")
            else:
                out.append(f"the file is damaged: {max(lost, 0.01):.2f} s of {whole} cannot be decoded and are {left}")
        if self.jumps:
            out.append("its time stamps jump; the parts are joined")
        if self.broken:
            out.append(f"{self.broken} of its samples are no numbers and are silent")
        if self.streams > 1:
            out.append(f"it holds {self.streams} sound tracks; one of them is used")
        return out


class SoundFile:
    """Read one file, from its start at each call of `blocks`; `facts` are those of the newest pass."""

    def __init__(self, source: Path | BinaryIO, most_seconds: float = MOST_SECONDS) -> None:
        """Read a path, or a seekable file, of which errors speak as `the sound`."""
        self.name = str(source) if isinstance(source, Path) else "the sound"
        self.facts = SoundFacts()
        self._source, self._most_seconds = source, most_seconds

    @contextmanager
    def opened(self) -> Iterator[av.container.InputContainer]:
        """Open the file as a container that holds sound; SpeechError if it cannot be opened or holds none."""
        if not isinstance(self._source, Path):
            with self._container(self._source) as container:
                yield container
            return
        if self._source.exists() and not self._source.is_file():
            raise SpeechError(f"{self.name}: not a file that can be read twice; save the sound in one")
        try:
            file = self._source.open("rb")
        except (OSError, ValueError) as e:
            raise SpeechError(f"{self.name}: {_reason(e)}") from e
        with file, self._container(file) as container:
            yield container

    @contextmanager
    def _container(self, file: BinaryIO) -> Iterator[av.container.InputContainer]:
        file.seek(0)
        kind = format_name(file.read(HEAD))
        if kind == "an empty file":
            raise SpeechError(f"{self.name} is empty")
        if is_encrypted(file) or "encrypted" in kind:
            raise SpeechError(f"{self.name}: the sound is encrypted (DRM); use a copy without")
        file.seek(0)
        try:
            container = av.open(file, options={"format_whitelist": KINDS})
        except (FFmpegError, OSError, ValueError) as e:
            damaged = kind.endswith((" sound", " video")) or kind in ("an MP4 file", "a Windows Media file")
            found = f"{kind} that is damaged" if damaged else f"{kind}"
            raise SpeechError(f"{self.name}: not a sound file that can be read but {found}") from e
        with container:
            if not container.streams.audio:
                raise SpeechError(f"{self.name}: {kind} that holds no sound")
            yield container

    def blocks(self, rate: int | None = None) -> Iterator[Channels]:
        """Yield the sound in order, never empty, [channels, up to BLOCK + a packet] at `rate`, else at its own.

        Raises SpeechError if the file cannot be read, holds no sound, or more than `most_seconds` of it.
        """
        given = 0
        try:
            for block in self._rated(rate):
                given += block.shape[1]
                yield block
        except (FFmpegError, OSError, ValueError) as e:
            raise SpeechError(f"{self.name}: not a sound that can be read ({_reason(e)})") from e
        if not given:
            raise SpeechError(f"{self.name} is empty: it holds {self.facts.samples} samples")

    def _rated(self, rate: int | None) -> Iterator[Channels]:
        out, held = _Rated(rate), list[Channels]()
        for piece in self._pieces():
            held.append(piece)
            if sum(p.shape[1] for p in held) >= BLOCK:
                yield from out.convert(np.concatenate(held, 1), self.facts.rate)
                held = []
        if held:
            yield from out.convert(np.concatenate(held, 1), self.facts.rate)
        yield from out.rest()

    def _pieces(self) -> Iterator[Channels]:
        """Yield what is decoded, and silence for what is missing, at the file's first rate."""
        facts = self.facts = SoundFacts()
        with self.opened() as container:
            stream = container.streams.best("audio") or container.streams.audio[0]
            facts.streams, facts.declared = len(container.streams.audio), self._declared(container, stream)
            if stream.codec_context is None:
                raise SpeechError(f"{self.name}: a sound in a coding that cannot be decoded; save it as WAV or MP3")
            facts.codec = stream.codec_context.name
            same_rate = _Rated(None)
            for frame in self._frames(container, stream):
                if not facts.rate:
                    self._begin(frame)
                    same_rate = _Rated(facts.rate)
                yield from self._silence_before(frame)
                sound = _as_channels(frame, len(facts.names))
                peak = float(np.abs(sound).max())
                if not peak <= LOUDEST:
                    broken = ~(np.abs(sound) <= LOUDEST)
                    facts.broken += int(broken.sum())
                    sound[broken] = 0
                    peak = float(np.abs(sound).max())
                facts.peak = max(facts.peak, peak)
                for piece in same_rate.convert(sound, frame.sample_rate):
                    facts.samples += piece.shape[1]
                    yield piece
                if facts.seconds > self._most_seconds:
                    raise SpeechError(f"{self.name} is longer than {_spoken(self._most_seconds)}; send it in parts")
            if not facts.samples:
                why = f"none of its packets can be decoded ({facts.codec})" if facts.failed else "it holds no samples"
                raise SpeechError(f"{self.name} is empty: {why}")

    def _declared(self, container: av.container.InputContainer, stream: av.audio.stream.AudioStream) -> float | None:
        """Return the seconds of sound that the file's header promises; None where there is only an estimate."""
        if container.format.name in ("mp3", "aac", "ac3", "amr"):  # without an index the length is guessed by the rate
            return None
        if isinstance(self._source, Path):
            with self._source.open("rb") as file:
                promised = declared_seconds(file)
        else:
            at = self._source.tell()
            promised = declared_seconds(self._source)
            self._source.seek(at)
        if promised is not None:
            return promised
        if stream.duration is not None and stream.time_base:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration is not None else None

    def _begin(self, frame: av.AudioFrame) -> None:
        names = tuple(channel.name for channel in frame.layout.channels)
        if not RATES[0] <= frame.sample_rate <= RATES[1]:
            low, high = RATES
            raise SpeechError(f"{self.name}: {frame.sample_rate} samples a second; from {low} to {high} can be used")
        if len(names) not in LAYOUTS:
            raise SpeechError(f"{self.name}: a sound of {len(names)} channels; up to {max(LAYOUTS)} can be used")
        self.facts.rate, self.facts.names = frame.sample_rate, names
        self.facts.begins = frame.time if frame.pts is not None and frame.time_base else 0.0

    def _silence_before(self, frame: av.AudioFrame) -> Iterator[Channels]:
        """Yield what is missing before a frame, by its time stamp."""
        facts = self.facts
        if frame.pts is None or not frame.time_base:
            return
        gap = frame.time - facts.begins - facts.seconds
        if abs(gap) > MOST_GAP:
            facts.jumps += 1
            facts.begins += gap
        elif gap > GAP:
            missing = np.zeros((len(facts.names), round(gap * facts.rate)), np.float32)
            facts.samples, facts.filled = facts.samples + missing.shape[1], facts.filled + gap
            yield missing

    def _frames(
        self, container: av.container.InputContainer, stream: av.audio.stream.AudioStream
    ) -> Iterator[av.AudioFrame]:
        for packet in self._packets(container, stream):
            try:
                frames = stream.codec_context.decode(packet)
            except (FFmpegError, ValueError):
                self.facts.failed += 1
                continue
            yield from (frame for frame in frames if frame.samples)

    def _packets(
        self, container: av.container.InputContainer, stream: av.audio.stream.AudioStream
    ) -> Iterator[av.Packet | None]:
        """Yield the packets of a stream and None, looking on behind an error."""
        for _ in range(MOST_RETRIES):
            try:
                yield from (packet for packet in container.demux(stream) if packet.size)
                break
            except (FFmpegError, ValueError):
                self.facts.failed += 1
        yield None


class _Rated:
    """Resample channels to a rate; without a rate they stay as they are."""

    def __init__(self, rate: int | None) -> None:
        self._rate, self._from = rate, rate
        self._resampler: av.AudioResampler | None = None

    def convert(self, sound: Channels, rate: int) -> list[Channels]:
        """Return what is ready of a sound that has a rate; a new rate ends what came before."""
        if self._rate is None:
            return [sound] if sound.shape[1] else []
        out = self.rest() if rate != self._from else []
        if rate != self._from:
            self._from = rate
            layout = LAYOUTS[len(sound)]
            different = rate != self._rate
            self._resampler = av.AudioResampler(format="flt", layout=layout, rate=self._rate) if different else None
        if self._resampler is None:
            return [*out, sound]
        interleaved = np.ascontiguousarray(sound.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=LAYOUTS[len(sound)])
        frame.sample_rate = rate
        return out + [_as_channels(piece, len(sound)) for piece in self._resampler.resample(frame)]

    def rest(self) -> list[Channels]:
        """Return what the filter still holds."""
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return []
        return [_as_channels(piece, len(piece.layout.channels)) for piece in resampler.resample(None)]


def _as_channels(frame: av.AudioFrame, channels: int) -> Channels:
    """Return the samples of a decoded frame as −1…1 [channels, samples]; another number of channels is averaged."""
    if frame.format.is_planar and len(frame.layout.channels) >= POINTERS:
        packed = av.AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
        (frame,) = packed.resample(frame)
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, len(frame.layout.channels)).T
    if values.dtype == np.uint8:
        sound = (values.astype(np.float32) - 128) / 128
    elif values.dtype.kind == "i":
        sound = (values / -float(np.iinfo(values.dtype).min)).astype(np.float32)
    else:
        sound = values.astype(np.float32)
    return sound if len(sound) == channels else sound.mean(0, keepdims=True).repeat(channels, 0)


def _reason(error: Exception) -> str:
    """Return one line on an error of the system or of FFmpeg."""
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or (str(error).splitlines() or [type(error).__name__])[0]


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 7200 else f"{math.ceil(seconds)} seconds"
