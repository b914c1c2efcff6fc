"""Frames, latents and chunks are counted in one way, whatever length the first chunk has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.time_grid import TimeGrid, frames_before, latent_of, latents_showing

GRIDS = st.builds(TimeGrid, st.integers(1, 5), st.integers(1, 7))


@given(frame=st.integers(0, 10_000))
def test_a_frame_lies_between_the_first_frames_of_its_latent_and_of_the_next(frame: int) -> None:
    latent = latent_of(frame)
    assert frames_before(latent) <= frame < frames_before(latent + 1)


def test_the_first_latent_is_one_frame_and_every_later_one_is_four() -> None:
    assert [frames_before(latent) for latent in range(5)] == [0, 1, 5, 9, 13]
    assert latent_of(4.5) == 2  # 0.28125 s of 16 frames a second: the next whole frame is the fifth


@given(frames=st.integers(1, 10_000))
def test_a_film_takes_as_many_latents_as_show_its_last_frame(frames: int) -> None:
    latents = latents_showing(frames)
    assert frames_before(latents - 1) < frames <= frames_before(latents)


def test_nothing_to_show_still_takes_the_first_latent() -> None:
    assert latents_showing(0) == latents_showing(1) == 1


@given(grid=GRIDS, latents=st.integers(0, 200))
def test_chunks_follow_each_other_without_gap_and_overlap(grid: TimeGrid, latents: int) -> None:
    chunks = [(n, i) for n in range(latents + 1) for i in range(grid.length(grid.start(n)))]
    assert [n for n, _ in chunks[:latents]] == [grid.number(latent) for latent in range(latents)]
    assert [latent - i for latent, (_, i) in enumerate(chunks[:latents])] == [
        grid.start(grid.number(latent)) for latent in range(latents)
    ]


@given(grid=GRIDS, latent=st.integers(0, 200))
def test_a_cue_lands_on_the_next_border_and_on_none_that_is_nearer(grid: TimeGrid, latent: int) -> None:
    borders = [grid.start(n) for n in range(202)]
    assert grid.border(latent) == min(b for b in borders if b >= latent)


@given(grid=GRIDS, latents=st.integers(0, 200))
def test_so_many_chunks_hold_the_latents_and_one_less_does_not(grid: TimeGrid, latents: int) -> None:
    chunks = grid.chunks(latents)
    assert grid.start(chunks) >= latents
    assert chunks == 0 or grid.start(chunks - 1) < latents


def test_a_chunk_without_latents_is_refused() -> None:
    for sizes in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="at least one latent"):
            TimeGrid(*sizes)
