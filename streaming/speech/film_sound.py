"""Add a sound track to a film: undamaged AAC is copied, any other sound is encoded as AAC."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from models.checkpoints.synced_files import move, sync_file
from models.driving_signal import RATE
from streaming.render_files import RenderError
from streaming.speech.channel_resampler import LAYOUTS, Channels
from streaming.speech.sound_file import SoundFile

# sampling rates of AAC in Hz (ISO/IEC 14496-3, table 1.18), up to 48 kHz, which covers what is audible
AAC_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
BITS_PER_SAMPLE = 4  # of one channel: 64 kbit/s for 16 kHz mono; speech presets of LAME and AAC encoders are lower
MOST_BITRATE = 96_000  # bits a second of a channel
KEPT_CHANNELS = (1, 2, 6)  # for other numbers the AAC encoder accepts few channel orders


def with_sound(video: Path, sound: Path, out: Path, silent: Sequence[tuple[int, int]] = ()) -> list[str]:
    """Write the unchanged frames of `video` and the sound to `out`, which appears only when complete. Return notes.

    The first frame and the first sample begin together. Undamaged AAC is copied; any other sound is encoded at its own
    rate, up to 48 kHz, and with its own channels. The picture consists of whole chunks and the knot behind them, so it
    may outlast the sound. Sample ranges (from, to) at 16 kHz in `silent` are muted.
    Raises SpeechError if the sound cannot be read, and RenderError if the film cannot be written.
    """
    partial = out.with_name(f"{out.stem}.partial.mp4")
    partial.unlink(missing_ok=True)  # a symbolic link there would redirect the film
    file, notes = SoundFile(sound), list[str]()
    for _ in file.blocks():  # fills `file.facts`
        pass
    try:
        with (
            av.open(str(video)) as source,
            file.opened() as original,
            av.open(str(partial), "w", options={"movflags": "faststart"}) as film,
        ):
            frames = source.streams.video[0]
            picture = film.add_stream_from_template(frames)
            shown = _moved(source.demux(frames), picture, 0.0)
            spoken = original.streams.best("audio") or original.streams.audio[0]
            if file.facts.intact and not silent and spoken.codec_context.profile == "LC":
                voice = film.add_stream_from_template(spoken)
                heard = _moved(original.demux(spoken), voice, file.facts.begins)
            else:
                heard = _encoded(file, film, silent, notes)
            for packet in heapq.merge(shown, heard, key=lambda p: float(p.dts * p.time_base)):
                film.mux(packet)
        sync_file(partial)
        move(partial, out)
    except (FFmpegError, OSError) as e:
        raise RenderError(f"{out}: cannot be written ({getattr(e, 'strerror', None) or e})") from e
    finally:
        partial.unlink(missing_ok=True)
    return notes


def _moved(packets: Iterator[av.Packet], to: av.stream.Stream, back: float) -> Iterator[av.Packet]:
    """Yield packets moved to the stream `to` and earlier by `back` seconds.

    Packets with a time before 0 prime the decoder and are not heard.
    """
    for packet in packets:
        if packet.size and packet.dts is not None:
            earlier = round(back / packet.time_base)
            packet.dts -= earlier
            packet.pts = packet.dts if packet.pts is None else packet.pts - earlier
            packet.stream = to
            yield packet


def _encoded(
    file: SoundFile, film: av.container.OutputContainer, silent: Sequence[tuple[int, int]], notes: list[str]
) -> Iterator[av.Packet]:
    """Add a stream of AAC to a film and return an iterator that encodes its packets on demand."""
    facts = file.facts
    rate = min((r for r in AAC_RATES if r >= facts.rate), default=AAC_RATES[-1])
    channels = len(facts.names)
    if channels not in KEPT_CHANNELS:
        notes.append(f"{file.name}: its {channels} channels are mixed to stereo in the film")
        channels = 2
    voice = film.add_stream("aac", rate=rate, layout=LAYOUTS[channels])
    voice.bit_rate = channels * min(MOST_BITRATE, BITS_PER_SAMPLE * rate)
    return _packets_of(file, voice, rate, channels, silent)


def _packets_of(
    file: SoundFile, voice: av.audio.stream.AudioStream, rate: int, channels: int, silent: Sequence[tuple[int, int]]
) -> Iterator[av.Packet]:
    at, softer = 0, np.float32(1 / max(1.0, file.facts.peak))  # floats may exceed full scale
    for block in file.blocks(rate):
        heard = softer * (block if channels == len(block) else _stereo(file.facts.names) @ block)
        for begin, end in silent:
            heard[:, max(0, begin * rate // RATE - at) : max(0, end * rate // RATE - at)] = 0
        sound = np.ascontiguousarray(np.clip(heard, -1, 1), np.float32)
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=LAYOUTS[channels])
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        at += sound.shape[1]
        yield from voice.encode(frame)
    yield from voice.encode(None)


def _stereo(names: tuple[str, ...]) -> Channels:
    """Return weights [2, channels], each row of sum 1, that mix named channels to left and right."""
    left = np.array([n.endswith("L") or not n.endswith("R") for n in names], np.float32)
    right = np.array([n.endswith("R") or not n.endswith("L") for n in names], np.float32)
    return np.stack([left / max(1, left.sum()), right / max(1, right.sum())])
