"""Test that fragments play from any keyframe on, with the times and sizes that ISO/IEC 14496-12 prescribes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from streaming.media.fmp4 import Fmp4Muxer, Fragment
from streaming.media.h264 import LiveEncoder
from streaming.media.opus import SoundEncoder

FPS = 16


def picture(frame: int, size: int = 256) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.stack([(x + 5 * frame) % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)


def packets(frames: int, keys: tuple[int, ...] = (), first: int = 0, fps: int = FPS) -> list[av.Packet]:
    encoder, made = LiveEncoder(256, 256, fps, 600_000), []
    for i in range(first, first + frames):
        made += encoder.encode(picture(i), i * 90_000 // fps, keyframe=i in keys)
    return made


def muxed(made: list[av.Packet], fps: int = FPS) -> tuple[Fmp4Muxer, list[Fragment]]:
    muxer = Fmp4Muxer(256, 256, fps)
    closed = [muxer.add(p) for p in made]
    return muxer, [f for f in [*closed, muxer.flush()] if f is not None]


def plays(data: bytes) -> list[tuple[float, np.ndarray]]:
    with av.open(io.BytesIO(data)) as container:
        return [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]


def boxes(data: bytes) -> dict[str, bytes]:
    """Return type → content of the boxes that stand side by side in `data`."""
    found = {}
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        found[kind.decode()], data = data[8:size], data[size:]
    return found


def track_of(fragment: Fragment) -> dict[str, bytes]:
    return boxes(boxes(boxes(fragment.data)["moof"])["traf"])


def decode_time(fragment: Fragment) -> int:
    return int(struct.unpack_from(">Q", track_of(fragment)["tfdt"], 4)[0])


def samples_of(fragment: Fragment) -> list[tuple[int, ...]]:
    """Return (duration, size, flags) of every sample."""
    return list(struct.iter_unpack(">III", track_of(fragment)["trun"][12:]))


def test_the_film_plays_after_every_fragment_with_the_right_pictures_and_times() -> None:
    muxer, so_far, count = Fmp4Muxer(256, 256, FPS), b"", 0
    for i, packet in enumerate(packets(24, keys=(10,))):
        if (fragment := muxer.add(packet)) is None:
            continue
        so_far += fragment.data
        got = plays(muxer.init + so_far)
        assert len(got) > count
        count = len(got)
        assert count >= i  # at most the present picture waits for the next fragment
        for n, (time, rgb) in enumerate(got):
            assert time == pytest.approx(n / FPS)
            assert np.abs(rgb.astype(int) - picture(n)).mean() < 12
    assert count == 22


def test_a_fragment_closes_after_a_quarter_of_a_second_or_before_a_keyframe() -> None:
    muxer = Fmp4Muxer(256, 256, FPS)
    closed = [muxer.add(p) for p in packets(13, keys=(6, 7))]
    assert [i for i, f in enumerate(closed) if f is not None] == [3, 6, 7, 10]
    assert [f.keyframe for f in closed if f is not None] == [True, False, True, True]


def test_initialisation_and_the_fragments_from_a_keyframe_on_play() -> None:
    muxer, fragments = muxed(packets(40, keys=(21,)))
    start = next(i for i, f in enumerate(fragments) if f.keyframe and i)
    got = plays(muxer.init + b"".join(f.data for f in fragments[start:]))
    assert [round(time * FPS) for time, _ in got] == list(range(21, 40))
    assert np.abs(got[0][1].astype(int) - picture(21)).mean() < 12


def test_decode_times_are_those_of_the_stream_after_days_too() -> None:
    day = 86_400 * FPS
    muxer, fragments = muxed(packets(8, first=3 * day))
    assert plays(muxer.init + fragments[0].data + fragments[1].data)[0][0] == pytest.approx(3 * 86_400)


@pytest.mark.parametrize("fps", [2, 7, 16, 24, 25, 30, 60])
def test_decode_times_leave_no_gap(fps: int) -> None:
    made = packets(2 * fps, fps=fps)
    muxer, fragments = muxed(made, fps)
    times = []
    for f in fragments:
        at, samples = decode_time(f), samples_of(f)
        assert not times or abs(at - times[-1]) <= 1  # a rate that does not divide 90 000 rounds
        times.append(at + sum(duration for duration, _, _ in samples))
    assert [t for t, _ in plays(muxer.init + b"".join(f.data for f in fragments))] == pytest.approx(
        [p.pts / 90_000 for p in made]
    )


def test_only_keyframes_are_marked_as_sync_samples() -> None:
    _, fragments = muxed(packets(12, keys=(5,)))
    flags = [flags for f in fragments for _, _, flags in samples_of(f)]
    assert [f & 0x10000 == 0 for f in flags] == [i in (0, 5) for i in range(12)]


def test_the_codec_string_names_the_profile_in_the_initialisation() -> None:
    muxer, _ = muxed(packets(1))
    assert muxer.codec.startswith("avc1.42c0")
    with av.open(io.BytesIO(muxer.init)) as container:
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 256, 256)
        assert f"avc1.{stream.codec_context.extradata[1:4].hex()}" == muxer.codec


def test_parameter_sets_stand_in_the_initialisation_only() -> None:
    muxer, (fragment, *_) = muxed(packets(1))
    sps = bytes(packets(1)[0]).split(b"\x00\x00\x01")[1].rstrip(b"\x00")
    assert struct.pack(">H", len(sps)) + sps in muxer.init
    assert sps not in fragment.data


def test_a_file_of_initialisation_and_fragments_plays_at_the_right_rate(tmp_path: Path) -> None:
    muxer, fragments = muxed(packets(20))
    (tmp_path / "a.mp4").write_bytes(muxer.init + b"".join(f.data for f in fragments))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(FPS, rel=0.01)
        assert len(list(container.decode(video=0))) == 20


def test_packets_that_could_not_be_played_are_refused() -> None:
    first, *rest = packets(4)
    with pytest.raises(ValueError, match="begins with a keyframe"):
        Fmp4Muxer(256, 256, FPS).add(rest[0])
    muxer = Fmp4Muxer(256, 256, FPS)
    assert (muxer.init, muxer.codec, muxer.flush()) == (b"", "", None)
    muxer.add(first)
    muxer.add(rest[0])
    with pytest.raises(ValueError, match="does not grow"):
        muxer.add(rest[0])
    (of_another_encoder,) = packets(1, first=50, fps=30)
    with pytest.raises(ValueError, match="parameters"):
        muxer.add(of_another_encoder)


def test_sound_plays_with_its_frame_in_a_film_that_begins_later_than_the_stream() -> None:
    """Hear a click of the stream's frame 30 with that frame, in a film that begins at frame 10."""
    made, sounds = packets(60, keys=(10,), fps=25), SoundEncoder()
    muxer, data = Fmp4Muxer(256, 256, 25, origin=10 * 3600, sound=True), b""
    for number in range(60):
        samples = np.zeros(1920, np.int16)
        samples[:60] = 20_000 if number == 30 else 0
        for packet in sounds.encode(samples, number * 1920):
            muxer.add_sound(packet)
        if number >= 10 and (fragment := muxer.add(made[number])) is not None:
            data += fragment.data
    with av.open(io.BytesIO(muxer.init + data)) as film:
        assert muxer.codec.endswith(",opus")
        assert (film.streams.audio[0].codec_context.name, len(film.streams.video)) in (("opus", 1), ("libopus", 1))
        heard = [(f.time + np.arange(f.samples) / f.rate, f.to_ndarray()[0]) for f in film.decode(audio=0)]
    times, loud = (np.concatenate(parts) for parts in zip(*heard, strict=True))
    assert times[np.abs(loud).argmax()] == pytest.approx(20 / 25, abs=0.004)
    assert np.allclose(np.diff(times), 1 / 48_000, atol=1e-6)


@pytest.mark.parametrize("every", [2, 4, 8])
def test_decode_times_leave_no_gap_where_pictures_are_left_out(every: int) -> None:
    _, fragments = muxed(packets(64)[::every])
    times: list[int] = []
    for fragment in fragments[1:]:
        assert not times or decode_time(fragment) == times[-1]
        times.append(decode_time(fragment) + sum(duration for duration, _, _ in samples_of(fragment)))
    assert len(times) > 4


def test_an_encode_of_a_lower_level_goes_on_in_the_same_stream() -> None:
    muxer = Fmp4Muxer(256, 256, 25)
    full, lower = (LiveEncoder(256, 256, 25, bitrate) for bitrate in (1_126_042, 100_000))
    fragments = [muxer.add(p) for n in range(8) for p in full.encode(picture(n), 3600 * n)]
    fragments += [muxer.add(p) for n in range(8, 24) for p in lower.encode(picture(n), 3600 * n)]
    data = muxer.init + b"".join(f.data for f in [*fragments, muxer.flush()] if f is not None)
    assert len(plays(data)) == 24
