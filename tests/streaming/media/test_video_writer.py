"""Test that a file plays after every fragment, and that an interrupted, continued file equals one written at once."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streaming.media.video_writer import VideoWriter


def clip(frames: int, size: int = 64) -> np.ndarray:
    x = np.arange(size)
    return np.stack(
        [
            np.broadcast_to(((x[:, None] * 2 + 5 * f) % 256)[..., None], (size, size, 3)).astype(np.uint8)
            for f in range(frames)
        ]
    )


def test_the_file_plays_after_every_fragment_with_the_right_pictures(tmp_path: Path) -> None:
    file, frames = tmp_path / "a.mp4", clip(30)
    with VideoWriter(file, 16) as recorder:
        for i in range(3):
            recorder.add(frames[10 * i : 10 * i + 10])
            recorder.end_fragment()
            with av.open(str(file)) as container:
                got = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            assert len(got) == 10 * (i + 1)
            error = np.abs(np.stack(got).astype(int) - frames[: len(got)])
            assert error.mean() < 3


def test_a_file_continued_at_a_fragment_equals_one_written_at_once(tmp_path: Path) -> None:
    whole, parts, frames = tmp_path / "a.mp4", tmp_path / "b.mp4", clip(30)
    with VideoWriter(whole, 16) as recorder:
        for i in range(3):
            recorder.add(frames[10 * i : 10 * i + 10])
            recorder.end_fragment()
            if i == 0:
                place = {"offset": recorder.offset, "fragments": 1, "frames": 10}
    parts.write_bytes(whole.read_bytes()[: place["offset"]] + bytes(1_000_000))  # more than what is to come
    with VideoWriter(parts, 16, **place) as recorder:
        for i in (1, 2):
            recorder.add(frames[10 * i : 10 * i + 10])
            recorder.end_fragment()
    assert parts.read_bytes() == whole.read_bytes()


def test_every_fragment_starts_with_a_keyframe(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 16) as recorder:
        for i in range(3):
            recorder.add(clip(30)[10 * i : 10 * i + 10])
            recorder.end_fragment()
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [p.is_keyframe for p in container.demux(video=0) if p.size]
    assert [i for i, k in enumerate(keys) if k] == [0, 10, 20]


def test_pictures_are_enlarged_by_the_scale(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 16, scale=2) as recorder:
        recorder.add(clip(4))
        recorder.end_fragment()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert next(container.decode(video=0)).to_ndarray(format="rgb24").shape == (128, 128, 3)


def test_a_fragment_without_frames_is_not_written(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 16) as recorder:
        recorder.end_fragment()
        assert recorder.fragments == 0
    assert (tmp_path / "a.mp4").stat().st_size == 0


@pytest.mark.parametrize("fps", [8, 16, 25])
def test_frames_have_the_times_of_the_frame_rate(tmp_path: Path, fps: int) -> None:
    with VideoWriter(tmp_path / "a.mp4", fps) as recorder:
        for i in range(2):
            recorder.add(clip(20)[10 * i : 10 * i + 10])
            recorder.end_fragment()
    with av.open(str(tmp_path / "a.mp4")) as container:
        times = [f.time for f in container.decode(video=0)]
    assert times == pytest.approx([i / fps for i in range(20)], abs=1e-4)
