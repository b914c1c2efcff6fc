"""Test that the file of an avatar's soundtrack plays while it is written, however long it gets."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest

from streaming.speech.soundtrack import HEADER, Soundtrack, header, whole_bytes


def sizes(head: bytes) -> tuple[int, int]:
    """Return the sizes in bytes that a header gives for the file and for its samples."""
    return struct.unpack("<I", head[4:8])[0], struct.unpack("<I", head[40:44])[0]


def test_a_header_gives_the_length_up_to_12_hours_and_marks_longer_files() -> None:
    assert sizes(header(16_000)) == (32_036, 32_000)
    most = 0xFFFFFFFF
    assert sizes(header((most - 36) // 2)) == (most - 1, most - 37)
    for samples in (2**31 - 8, 2**31, 2**33):
        assert len(header(samples)) == HEADER
        assert sizes(header(samples))[0] == most
    assert sizes(header(2**31)) == (most, most)


def test_a_file_too_long_for_its_header_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(header(2**31) + bytes(96_000))
    with av.open(str(tmp_path / "long.wav")) as file:
        assert sum(f.samples for f in file.decode(audio=0)) == 48_000


@pytest.mark.parametrize("samples", [0, 5000])
def test_a_file_is_as_long_as_its_header_says_after_speech_is_taken_back(tmp_path: Path, samples: int) -> None:
    spoken = Soundtrack(tmp_path / "a.wav")
    spoken.add(np.ones(9000, np.int16))
    spoken.hush(samples)
    spoken.add(np.ones(100, np.int16))
    head, size = (tmp_path / "a.wav").read_bytes()[:HEADER], (tmp_path / "a.wav").stat().st_size
    assert whole_bytes(head, size) == size == HEADER + 2 * (samples + 100)
    assert whole_bytes(head, 10**6) == size
    assert whole_bytes(header(2**31), 10**6) == 10**6
    assert whole_bytes(b"RIFF", 4) == 4
