"""Decode sound files of many formats packet by packet, skip damaged parts, and measure the loss.

Where time stamps show that packets are missing, silence of the same length takes their place, so that what follows
keeps its time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError

from models.errors import UserError
from streaming.media.track_limit import track_options
from streaming.speech.channel_resampler import LAYOUTS, ChannelResampler, Channels, as_channels
from streaming.speech.format_name import HEAD, format_name
from streaming.speech.sound_facts import SoundFacts
from streaming.speech.sound_header import declared_seconds, is_encrypted

# excluded are formats that name other files or addresses, such as playlists: a file may come from the network
KINDS = "wav,w64,aiff,au,caf,mp3,aac,ac3,flac,ogg,matroska,webm,mov,mp4,asf,amr,avi,mpeg,mpegts"
OTHER_KINDS = ("an MP4 file", "a Windows Media file", "an MPEG transport stream")  # by their names alone no sounds
MOST_SECONDS = 4 * 3600  # length of a sound; in some formats ten minutes of silence take only a few kilobytes
RATES = (4000, 384_000)  # samples a second, lowest and highest
GAP = 0.03  # seconds from which a gap in time stamps counts as missing sound; some formats round to milliseconds
MOST_GAP = 30.0  # seconds of a gap that is filled with silence; a longer one is a jump of the time stamps
MOST_RETRIES = 100  # errors after which no further packet is looked for
LOUDEST = 65_536.0  # times full scale: the largest float sample accepted, for integers that were written as floats
BLOCK = 8192  # samples that `SoundFile.blocks` yields at a time, about


class SpeechError(UserError):
    """Report, in one line for a person, a sound that cannot be used."""


class SoundFile:
    """Read one sound file, from its start at each call of `blocks`; `facts` describes the newest pass."""

    def __init__(self, source: Path | BinaryIO, most_seconds: float = MOST_SECONDS) -> None:
        """Prepare to read a path, or a seekable file, which errors call `the sound`; nothing is opened yet."""
        self.name = str(source) if isinstance(source, Path) else "the sound"
        self.facts = SoundFacts()
        self._source, self._most_seconds = source, most_seconds

    @contextmanager
    def opened(self) -> Iterator[av.container.InputContainer]:
        """Open the file as a container that holds sound; raise SpeechError if it cannot be opened or holds none."""
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
            options = {"format_whitelist": KINDS, **track_options(kind)}
            container = av.open(file, options=options, metadata_errors="replace")  # titles need not be UTF-8
        except (FFmpegError, OSError, ValueError) as e:
            damaged = kind.endswith((" sound", " video")) or kind in OTHER_KINDS
            found = f"{kind} that is damaged" if damaged else f"{kind}"
            raise SpeechError(f"{self.name}: not a sound file that can be read but {found}") from e
        with container:
            if not container.streams.audio:
                raise SpeechError(f"{self.name}: {kind} that holds no sound")
            yield container

    def blocks(self, rate: int | None = None) -> Iterator[Channels]:
        """Yield the sound in order as blocks [channels, 1…BLOCK + a packet] at `rate`, by default at its own rate.

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
        out, held = ChannelResampler(rate), list[Channels]()
        for piece in self._pieces():
            held.append(piece)
            if sum(p.shape[1] for p in held) >= BLOCK:
                yield from out.convert(np.concatenate(held, 1), self.facts.rate)
                held = []
        if held:
            yield from out.convert(np.concatenate(held, 1), self.facts.rate)
        yield from out.rest()

    def _pieces(self) -> Iterator[Channels]:
        """Yield decoded sound, and silence where packets are missing, at the rate of the file's first frame."""
        facts = self.facts = SoundFacts()
        with self.opened() as container:
            stream = container.streams.best("audio") or container.streams.audio[0]
            facts.streams, facts.declared = len(container.streams.audio), self._declared(container, stream)
            if stream.codec_context is None:
                raise SpeechError(f"{self.name}: a sound in a coding that cannot be decoded; save it as WAV or MP3")
            facts.codec = stream.codec_context.name
            same_rate = ChannelResampler(None)
            for frame in self._frames(container, stream):
                if not facts.rate:
                    self._begin(frame)
                    same_rate = ChannelResampler(facts.rate)
                yield from self._silence_before(frame)
                sound = as_channels(frame, len(facts.names))
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
        """Return the seconds of sound that the file's header states; None if it holds no more than an estimate."""
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
        """Yield silence as long as the gap that a frame's time stamp leaves before it; nothing if there is none."""
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
        """Yield the packets of a stream, then None to flush the decoder; continue behind an error."""
        for _ in range(MOST_RETRIES):
            try:
                yield from (packet for packet in container.demux(stream) if packet.size)
                break
            except (FFmpegError, ValueError):
                self.facts.failed += 1
        yield None


def _reason(error: Exception) -> str:
    """Return the reason of an error of the system or of FFmpeg in one line."""
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or (str(error).splitlines() or [type(error).__name__])[0]


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 7200 else f"{math.ceil(seconds)} seconds"
