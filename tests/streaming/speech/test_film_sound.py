"""Test that a film has the sound unchanged, and within a millisecond of the sound that drove its frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from sounds import RATE, clicks, encoded, pcm, warble, with_cover, zeroed

from streaming.render_files import RenderError
from streaming.speech import audio_file
from streaming.speech.audio_file import SpeechError
from streaming.speech.film_sound import with_sound


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Write three seconds of frames in fragments, as a render does, and return the path."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(tmp_path / "silent.mp4"), "w", options=options) as file:
        picture = file.add_stream("libx264", rate=25, options={"bf": "0"})
        picture.width = picture.height = 32
        for n in range(75):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), n, np.uint8))))
        file.mux(picture.encode(None))
    return tmp_path / "silent.mp4"


def facts(path: Path) -> tuple[int, str, str]:
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        return stream.rate, stream.layout.name, stream.codec_context.name


def as_played(path: Path) -> np.ndarray:
    """Return [samples] at 16 kHz from the time of the first frame on, placed by the time stamps that players follow."""
    with av.open(str(path)) as file:
        first = next(file.decode(video=0)).time
    resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
    out = np.zeros(16_000 * 5, np.float32)
    with av.open(str(path)) as file:
        frames = list(file.decode(audio=0))
        begins = frames[0].time - first
        for frame in frames:
            frame.pts = None
        pieces = [p.to_ndarray()[0] for f in [*frames, None] for p in resampler.resample(f)]
    sound, at = np.concatenate(pieces), round(begins * 16_000)
    sound = sound[max(0, -at) :][: len(out) - max(0, at)]
    out[max(0, at) :][: len(sound)] = sound
    return out


def lag_ms(played: np.ndarray, drove: np.ndarray) -> float:
    """Return by how many milliseconds the played sound comes after the sound that drove the frames."""
    n = 1 << 18
    crossed = np.fft.irfft(np.fft.rfft(played, n) * np.fft.rfft(drove, n).conj())
    lag = int(np.argmax(crossed))
    return (lag if lag < n // 2 else lag - n) / 16


SOUNDS: dict[str, tuple[Callable[[], bytes], tuple[int, str]]] = {
    "WAV of 48 kHz stereo": (lambda: pcm(clicks()[:, None].repeat(2, 1)), (48_000, "stereo")),
    "WAV of 44.1 kHz mono": (lambda: pcm(clicks(rate=44_100), 44_100), (44_100, "mono")),
    "WAV of 16 kHz mono": (lambda: pcm(clicks(rate=16_000), 16_000), (16_000, "mono")),
    "WAV of 8 kHz mono": (lambda: pcm(clicks(rate=8000), 8000), (8000, "mono")),
    "WAV of 96 kHz": (lambda: pcm(clicks(rate=96_000), 96_000), (48_000, "mono")),
    "WAV of 18 kHz": (lambda: pcm(clicks(rate=18_000), 18_000), (22_050, "mono")),
    "WAV of 5.1": (lambda: pcm(clicks()[:, None].repeat(6, 1)), (48_000, "5.1")),
    "WAV of four channels": (lambda: pcm(clicks()[:, None].repeat(4, 1)), (48_000, "stereo")),
    "MP3": (lambda: encoded("mp3", "libmp3lame", clicks()), (48_000, "stereo")),
    "MP3 of 44.1 kHz with a cover": (
        lambda: with_cover(encoded("mp3", "libmp3lame", clicks(rate=44_100), 44_100)),
        (44_100, "stereo"),
    ),
    "M4A": (lambda: encoded("ipod", "aac", clicks()), (48_000, "stereo")),
    "M4A of 44.1 kHz mono": (lambda: encoded("ipod", "aac", clicks(rate=44_100), 44_100, "mono"), (44_100, "mono")),
    "ADTS": (lambda: encoded("adts", "aac", clicks()), (48_000, "stereo")),
    "AAC in Matroska": (lambda: encoded("matroska", "aac", clicks()), (48_000, "stereo")),
    "Opus": (lambda: encoded("ogg", "libopus", clicks()), (48_000, "stereo")),
    "WebM": (lambda: encoded("webm", "libopus", clicks()), (48_000, "stereo")),
    "FLAC": (lambda: encoded("flac", "flac", clicks(rate=96_000), 96_000), (48_000, "stereo")),
    "damaged M4A": (lambda: zeroed(encoded("ipod", "aac", clicks()), 0.4), (48_000, "stereo")),
    "damaged MP3": (lambda: zeroed(encoded("mp3", "libmp3lame", clicks()), 0.4), (48_000, "stereo")),
}


@pytest.mark.parametrize("kind", SOUNDS)
def test_the_film_has_the_rate_and_channels_of_the_sound_and_is_in_time_to_a_millisecond(
    kind: str, video: Path, tmp_path: Path
) -> None:
    data, (rate, layout) = SOUNDS[kind]
    (tmp_path / "sound").write_bytes(data())
    notes = with_sound(video, tmp_path / "sound", tmp_path / "film.mp4")
    assert facts(tmp_path / "film.mp4") == (rate, layout, "aac")
    drove = np.concatenate(list(audio_file.read(tmp_path / "sound")))
    played = as_played(tmp_path / "film.mp4")
    assert abs(lag_ms(played, drove)) < 1
    half = len(drove) // 2  # no drift, and sound after damage keeps its time
    assert abs(lag_ms(played[half:], drove[half:])) < 1
    assert len(notes) == ("four" in kind)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 75
    assert sorted(p.name for p in tmp_path.iterdir()) == ["film.mp4", "silent.mp4", "sound"]


@pytest.mark.parametrize("kind", ["M4A", "ADTS", "AAC in Matroska", "M4A of 44.1 kHz mono"])
def test_aac_is_copied_and_not_encoded_again(kind: str, video: Path, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(SOUNDS[kind][0]())
    with_sound(video, tmp_path / "sound", tmp_path / "film.mp4")

    def packets(path: Path) -> set[bytes]:
        with av.open(str(path)) as file:
            found = [bytes(p) for p in file.demux(file.streams.audio[0]) if p.size]
        return {p[7:] if p[:2] == b"\xff\xf1" else p for p in found}  # without the header of ADTS

    assert packets(tmp_path / "film.mp4") == packets(tmp_path / "sound")


def test_channels_stay_apart_and_treble_is_kept(video: Path, tmp_path: Path) -> None:
    t = np.arange(2 * RATE) / RATE
    sides = np.stack([0.3 * np.sin(2 * np.pi * 300 * t), 0.3 * np.sin(2 * np.pi * 11_000 * t)], 1)
    (tmp_path / "a.wav").write_bytes(pcm(sides))
    with_sound(video, tmp_path / "a.wav", tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        heard = np.concatenate([f.to_ndarray() for f in film.decode(audio=0)], 1)[:, RATE // 2 :][:, :RATE]
    spectra = np.abs(np.fft.rfft(heard * np.hanning(RATE)))
    assert spectra.argmax(1).tolist() == [300, 11_000]
    assert abs(np.abs(heard[1]).max() - 0.3) < 0.05


def test_interrupted_speech_is_silent_in_the_film_at_any_rate(video: Path, tmp_path: Path) -> None:
    (tmp_path / "a.m4a").write_bytes(encoded("ipod", "aac", warble(2)))
    with_sound(video, tmp_path / "a.m4a", tmp_path / "film.mp4", [(8000, 16_000)])
    played = as_played(tmp_path / "film.mp4")
    assert np.abs(played[9000:15_000]).max() < 0.01
    assert np.abs(played[:7000]).max() > 0.2
    assert np.abs(played[17_000:24_000]).max() > 0.2


def test_sound_and_picture_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "long.mp4"), "w") as file:
        picture = file.add_stream("libx264", rate=25, options={"bf": "0"})
        picture.width = picture.height = 32
        for _ in range(25 * 40):
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        file.mux(picture.encode(None))
    (tmp_path / "a.wav").write_bytes(pcm(warble(40, 16_000), 16_000))
    with_sound(tmp_path / "long.mp4", tmp_path / "a.wav", tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        times = [(p.pos, p.stream.type, float(p.dts * p.time_base)) for p in film.demux() if p.size]
    newest = {"video": 0.0, "audio": 0.0}
    for _, kind, at in sorted(times):
        newest[kind] = at
        assert abs(newest["video"] - newest["audio"]) < 2.5


def test_a_film_that_cannot_be_written_leaves_nothing_behind(video: Path, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(pcm(warble(1)))
    with pytest.raises(RenderError, match=r"film\.mp4: cannot be written"):
        with_sound(video, tmp_path / "a.wav", tmp_path / "nowhere" / "film.mp4")
    (tmp_path / "b.wav").write_bytes(b"no sound")
    with pytest.raises(SpeechError):
        with_sound(video, tmp_path / "b.wav", tmp_path / "film.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.wav", "b.wav", "silent.mp4"]
