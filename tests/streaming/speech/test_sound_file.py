"""Test that sound of every format, rate and layout is read, damage is skipped and reported, other files are refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from pictures import plain, saved
from sounds import RATE, encoded, pcm, warble, wav, with_cover, zeroed

from streaming.speech import audio_file
from streaming.speech.audio_file import SpeechError, voice_in
from streaming.speech.sound_file import SoundFile

KINDS: dict[str, Callable[[], bytes]] = {
    "MP3": lambda: encoded("mp3", "libmp3lame", warble()),
    "MP3 with a cover": lambda: with_cover(encoded("mp3", "libmp3lame", warble())),
    "M4A": lambda: encoded("ipod", "aac", warble()),
    "ADTS": lambda: encoded("adts", "aac", warble()),
    "Opus": lambda: encoded("ogg", "libopus", warble()),
    "WebM": lambda: encoded("webm", "libopus", warble()),
    "Matroska": lambda: encoded("matroska", "aac", warble()),
    "FLAC": lambda: encoded("flac", "flac", warble()),
    "FLAC in Ogg": lambda: encoded("ogg", "flac", warble()),
    "ALAC": lambda: encoded("ipod", "alac", warble()),
    "AIFF": lambda: encoded("aiff", "pcm_s16be", warble()),
    "AIFF of 24 bit": lambda: encoded("aiff", "pcm_s24be", warble()),
    "CAF": lambda: encoded("caf", "pcm_s16be", warble()),
    "AU": lambda: encoded("au", "pcm_mulaw", warble()),
    "WMA": lambda: encoded("asf", "wmav2", warble()),
    "AVI": lambda: encoded("avi", "pcm_s16le", warble()),
    "QuickTime": lambda: encoded("mov", "pcm_s16le", warble()),
    "AC-3": lambda: encoded("ac3", "ac3", warble()),
    "WAV of 8 bit": lambda: encoded("wav", "pcm_u8", warble()),
    "WAV of 24 bit": lambda: encoded("wav", "pcm_s24le", warble()),
    "WAV of 32 bit": lambda: encoded("wav", "pcm_s32le", warble()),
    "WAV of floats": lambda: encoded("wav", "pcm_f32le", warble()),
    "WAV of doubles": lambda: encoded("wav", "pcm_f64le", warble()),
    "WAV of µ-law": lambda: encoded("wav", "pcm_mulaw", warble()),
    "WAV of A-law": lambda: encoded("wav", "pcm_alaw", warble()),
    "WAV of ADPCM": lambda: encoded("wav", "adpcm_ima_wav", warble()),
    "W64": lambda: encoded("w64", "pcm_s16le", warble()),
    "RF64": lambda: encoded("wav", "pcm_s16le", warble(), rf64="always"),
    "fragmented MP4": lambda: encoded("mp4", "aac", warble(), movflags="frag_keyframe+empty_moov"),
}


def sound_of(data: bytes) -> np.ndarray:
    return np.concatenate(list(audio_file.read(io.BytesIO(data))))


def likeness(found: np.ndarray, given: np.ndarray) -> float:
    """Return the correlation of two sounds whose beginnings may differ by an encoder's delay of 100 ms."""
    n = min(len(found), len(given))
    a, b = np.fft.rfft(found[:n], 2 * n), np.fft.rfft(given[:n], 2 * n)
    crossed = np.fft.irfft(a * b.conj())
    near = np.concatenate([crossed[:1600], crossed[-1600:]])
    return float(np.abs(near).max() / np.sqrt((found[:n] ** 2).sum() * (given[:n] ** 2).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_sound(kind: str) -> None:
    data = KINDS[kind]()
    found = sound_of(data)
    assert abs(len(found) / 16_000 - 3) < 0.11
    assert likeness(found, warble(rate=16_000)) > 0.98
    assert abs(np.abs(found).max() - 0.3) < 0.05
    assert voice_in(io.BytesIO(data)).notes == ()


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8])
def test_any_rate_and_any_channels_give_the_same_sound(rate: int, channels: int) -> None:
    found = sound_of(pcm(warble(1, rate)[:, None].repeat(channels, 1), rate))
    assert abs(len(found) - 16_000) <= 32
    assert likeness(found, warble(1, 16_000)) > 0.99


def test_a_film_gives_its_sound_and_a_silent_film_says_so() -> None:
    def film(*, sound: bool) -> bytes:
        out = io.BytesIO()
        with av.open(out, "w", format="mp4") as file:
            picture = file.add_stream("libx264", rate=25)
            picture.width = picture.height = 32
            voice = file.add_stream("aac", rate=RATE, layout="mono") if sound else None
            for _ in range(50):
                file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
            file.mux(picture.encode(None))
            if voice is not None:
                frame = av.AudioFrame.from_ndarray(warble()[None], format="fltp", layout="mono")
                frame.sample_rate = RATE
                file.mux([*voice.encode(frame), *voice.encode(None)])
        return out.getvalue()

    assert likeness(sound_of(film(sound=True)), warble(rate=16_000)) > 0.98
    with pytest.raises(SpeechError, match="the sound: an MP4 file that holds no sound"):
        sound_of(film(sound=False))


def test_a_sound_with_a_title_that_is_not_utf8_is_read() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        file.metadata["title"] = "a title"
        voice = file.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(warble()[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        file.mux([*voice.encode(frame), *voice.encode(None)])
    assert b"a title" in out.getvalue()
    assert likeness(sound_of(out.getvalue().replace(b"a title", b"\xd6\xff tle!")), warble(rate=16_000)) > 0.98


# -- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_an_mp3_with_zeros_in_its_middle_loses_only_that_part(at: float, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(zeroed(encoded("mp3", "libmp3lame", warble()), at))
    voice = voice_in(tmp_path / "a.mp3")
    assert voice.samples > 2.7 * 16_000
    assert len(voice.notes) == 1
    assert "a.mp3: the file is damaged: 0." in voice.notes[0]
    assert sum(map(len, voice.pieces())) == voice.samples


@pytest.mark.parametrize("kind", ["M4A", "ADTS", "Opus", "FLAC", "WMA", "AC-3"])
def test_damage_is_skipped_and_noted_and_later_sound_keeps_its_time(kind: str) -> None:
    data = KINDS[kind]()
    clean, voice = sound_of(data), voice_in(io.BytesIO(zeroed(data, 0.5)))
    found = sound_of(zeroed(data, 0.5))
    assert any("damaged" in note for note in voice.notes)
    if kind not in ("ADTS", "AC-3"):  # these have no time stamps
        assert abs(len(found) - len(clean)) < 800
        assert likeness(found[-8000:], clean[-8000:]) > 0.9
    assert len(found) > 0.6 * len(clean)


@pytest.mark.parametrize("kind", ["WAV of 24 bit", "FLAC", "AIFF", "CAF", "WebM"])
@pytest.mark.parametrize("kept", [0.5, 0.8])
def test_a_file_that_breaks_off_gives_its_beginning_and_a_note(kind: str, kept: float) -> None:
    data = KINDS[kind]()
    voice = voice_in(io.BytesIO(data[: int(kept * len(data))]))
    assert (kept - 0.45) * 48_000 < voice.samples < (kept + 0.1) * 48_000
    assert any("breaks off" in n or "damaged" in n for n in voice.notes)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 10**6])
def test_a_wav_that_was_written_to_a_pipe_is_read_to_its_end(size: int) -> None:
    samples = (warble(2, 16_000) * 32767).astype("<i2")
    assert len(sound_of(wav(samples, 16_000, data_bytes=size))) == 32_000


def test_samples_that_are_not_numbers_are_silent_and_noted() -> None:
    sound = warble(2, 44_100)
    sound[20_000:20_100] = np.nan
    sound[30_000:30_050] = np.inf
    voice = voice_in(io.BytesIO(wav(sound.astype("<f4"), 44_100, tag=3)))
    assert voice.notes == ("the sound: 150 of its samples are no numbers and are silent",)
    found = np.concatenate(list(voice.pieces()))
    assert np.isfinite(found).all()
    assert abs(len(found) - 32_000) < 10


@pytest.mark.parametrize("factor", [8, 32_768])
def test_floats_beyond_full_scale_are_levelled_and_not_clipped(factor: int) -> None:
    loud = wav((factor * warble(2, 16_000)).astype("<f4"), 16_000, tag=3)
    found = np.concatenate(list(voice_in(io.BytesIO(loud)).pieces()))
    assert likeness(found, warble(2, 16_000)) > 0.999
    assert np.abs(sound_of(pcm(9 * warble(1)))).max() <= 1


@pytest.mark.parametrize("seconds", [0, 0.0001])
def test_a_sound_of_no_samples_is_refused(seconds: float) -> None:
    with pytest.raises(SpeechError, match="the sound is empty"):
        sound_of(pcm(warble(seconds, 44_100), 44_100))


# -- refusals -------------------------------------------------------------------------------------------------------

OTHERS = {
    "the sound is empty": b"",
    "but a file of zeros": bytes(5000),
    "but a text": b"not a sound",
    "but a PNG picture": saved(plain(), "PNG"),
    "but a JPEG picture": saved(plain(), "JPEG"),
    "but a PDF document": saved(plain(), "PDF"),
    "but a ZIP archive": b"PK\3\4" + bytes(1000),
    "but an HTML page": b"<html><body>moved</body></html>",
    "but a playlist": b"#EXTM3U\n/etc/passwd\n",
    "but a MIDI score": b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(100),
    "but a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "but a WAV sound that is damaged": b"RIFF\x10\0\0\0WAVEfmt ",
    "an Audible book": b"\0\0\0\x18ftypaax \0\0\0\0",
}


@pytest.mark.parametrize("found", OTHERS)
def test_a_file_without_sound_is_refused_with_the_name_of_its_format(found: str, tmp_path: Path) -> None:
    with pytest.raises(SpeechError) as e:
        sound_of(OTHERS[found])
    assert found.removeprefix("an Audible book") in str(e.value)
    assert "\n" not in str(e.value)
    (tmp_path / "a.wav").write_bytes(OTHERS[found])
    with pytest.raises(SpeechError, match=r"a\.wav"):
        list(audio_file.read(tmp_path / "a.wav"))


def test_encrypted_sound_is_refused_as_such() -> None:
    key = {"encryption_key": "00112233445566778899aabbccddeeff", "encryption_kid": "00112233445566778899aabbccddeeff"}
    data = encoded("mp4", "aac", warble(), encryption_scheme="cenc-aes-ctr", **key)
    with pytest.raises(SpeechError, match="encrypted"):
        sound_of(data)


def test_a_path_is_never_opened_as_an_address_or_a_device(tmp_path: Path) -> None:
    with pytest.raises(SpeechError, match="No such file"):
        list(audio_file.read(tmp_path / "none.wav"))
    with pytest.raises(SpeechError, match="No such file"):
        list(audio_file.read(Path("concat:a.wav|b.wav")))
    with pytest.raises(SpeechError, match="not a file that can be read twice"):
        list(audio_file.read(tmp_path))


@pytest.mark.parametrize("rate", [1, 3999, 10**6, 2**31 - 1])
def test_a_rate_out_of_range_is_refused(rate: int) -> None:
    with pytest.raises(SpeechError, match=r"samples a second|that is damaged"):
        sound_of(pcm(warble(0.1), rate))


def test_too_many_channels_are_refused() -> None:
    with pytest.raises(SpeechError, match="32 channels"):
        sound_of(pcm(warble(0.1)[:, None].repeat(32, 1)))


def test_a_small_file_of_endless_silence_is_refused_in_bounded_memory() -> None:
    data = encoded("flac", "flac", np.zeros(16_000 * 120, np.float32), 16_000, "mono")
    assert len(data) < 50_000
    with pytest.raises(SpeechError, match="longer than 60 seconds"):
        voice_in(io.BytesIO(data), 60)


def test_a_sound_is_read_piece_by_piece() -> None:
    longest = max(block.shape[1] for block in SoundFile(io.BytesIO(pcm(warble(120, 8000), 8000))).blocks(16_000))
    assert longest < 20_000
