"""A take begins with an image or a film, and another one in its middle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_model, with_rollout
from rolling import START, next_coordinates, odd_model, roll

from models.conditions import kept_by_codec
from models.cue import Cue, CueError, Prompt, Start, StartBy
from models.generator import Generator
from models.state import TakeState


def pictures(frames: int, size: int = 32, by: StartBy | None = None) -> Start:
    """Return a start of so many random frames."""
    pixels = np.random.default_rng(frames).integers(0, 256, (frames, size, size, 3), np.uint8)
    return Start(pixels.tobytes(), size, size, by)


def begun(generator: Generator, *cues: Cue) -> tuple[TakeState, torch.Tensor]:
    state = generator.new_take(0, 32, 32)
    return state, roll(generator, state, 4, {0: [Prompt("one"), *cues]})


def encoded(generator: Generator, start: Start) -> torch.Tensor:
    frames = torch.frombuffer(bytearray(start.pixels), dtype=torch.uint8).view(-1, 32, 32, 3)
    return generator.codec.encode_stream().encode(frames)


def test_a_pinned_image_is_the_first_latent_and_changes_the_rest_of_its_chunk() -> None:
    generator = tiny_model().generator
    _, free = begun(generator)
    state, film = begun(generator, pictures(1, by=StartBy.PIN))
    assert torch.equal(film[:, :, :1], encoded(generator, pictures(1)))
    assert not torch.equal(film[:, :, 1:3], free[:, :, 1:3])
    assert state.pinned is None
    assert state.prefix == 0


def test_a_chunk_that_begins_over_its_image_is_nearer_to_it_than_one_that_begins_from_noise() -> None:
    apart = []
    for level in (0.2, 0.9, 1.0):
        _, film = begun(with_rollout(tiny_model(), start_noise=level).generator, pictures(1, by=StartBy.PIN))
        apart.append(float((film[:, :, 1:3] - film[:, :, :1]).abs().mean()))
    assert apart == sorted(apart)
    _, film = begun(tiny_model().generator, pictures(1, by=StartBy.PIN))
    assert float((film[:, :, 1:3] - film[:, :, :1]).abs().mean()) == apart[2]
    with pytest.raises(ValueError, match="above 0 and at most 1, not 0"):
        with_rollout(tiny_model(), start_noise=0)


@pytest.mark.parametrize(("frames", "latents"), [(1, 3), (5, 3), (9, 3), (20, 3), (21, 6), (33, 9), (60, 9)])
def test_a_prefix_is_the_end_of_the_film_in_whole_chunks(frames: int, latents: int) -> None:
    """The first new chunk sees what it would see behind drawn ones, and noise counts from the prefix on."""
    generator = tiny_model().generator
    start = pictures(frames, by=StartBy.PREFIX if frames == 1 else None)
    state, film = begun(generator, start)
    still = max(0, 4 * latents - 3 - frames)  # a film shorter than a chunk begins by standing still
    shown = np.frombuffer(start.pixels, np.uint8).reshape(-1, 32, 32, 3)
    shown = np.concatenate([np.repeat(shown[:1], still, 0), shown[-(4 * latents - 3) :]])
    torch.testing.assert_close(
        film[:, :, :latents], encoded(generator, Start(shown.tobytes(), 32, 32)), atol=1e-4, rtol=0
    )
    assert (state.prefix, state.given) == (latents, None)
    drawn = generator.new_take(0, 32, 32)
    roll(generator, drawn, 4, START)
    assert next_coordinates(state) == next_coordinates(drawn)
    fresh = generator.new_take(0, 32, 32)
    behind = generator.new_take(0, 32, 32)
    roll(generator, behind, latents // 3, {0: [Prompt("one"), start]})
    assert torch.equal(generator.noise(behind, 1), generator.noise(fresh, 1))


def test_a_prefix_equals_the_same_latents_committed_before_the_take() -> None:
    generator, start = tiny_model().generator, pictures(33)
    _, film = begun(generator, start)
    given = generator.new_take(0, 32, 32)
    generator.apply_cues(given, START[0])
    generator.prefill(given, encoded(generator, start))
    torch.testing.assert_close(generator.draw(given), film[:, :, 9:12], atol=1e-3, rtol=0)


def test_a_first_chunk_of_one_latent_takes_an_image_as_its_prefix() -> None:
    generator = odd_model().generator
    state, film = begun(generator, pictures(1, by=StartBy.PREFIX))
    assert torch.equal(film[:, :, :1], encoded(generator, pictures(1)))
    assert state.prefix == 1


@pytest.mark.parametrize("start", [pictures(1, by=StartBy.PIN), pictures(21)])
def test_a_start_in_the_middle_is_a_new_scene_that_snapshots_hold(start: Start) -> None:
    """Nothing of the old scene is seen; a snapshot in the middle of a prefix goes on with the rest of it."""
    generator = tiny_model().generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 4, START)
    generator.draw(state, [start])
    assert state.cache.origin == 12
    generator.commit(state)
    assert len(state.recent) == 1
    again = generator.restore(generator.snapshot(state))
    assert torch.equal(roll(generator, again, 3), roll(generator, state, 3))


def test_what_the_codec_keeps_of_a_picture_is_told_in_decibels() -> None:
    codec, image = tiny_model().generator.codec, pictures(1)
    shown = codec.decode_stream().decode(encoded(tiny_model().generator, image)).numpy()
    apart = np.square(shown.astype(float) - np.frombuffer(image.pixels, np.uint8).reshape(shown.shape)).mean()
    assert kept_by_codec(codec, image) == pytest.approx(10 * np.log10(255**2 / apart), abs=0.01)


def test_what_cannot_be_a_start_is_refused() -> None:
    generator = tiny_model().generator
    with pytest.raises(CueError, match="the pictures are 64x64, the take 32x32"):
        begun(generator, pictures(1, size=64))
    with pytest.raises(ValueError, match="not whole pictures"):
        Start(b"12", 32, 32)
    with pytest.raises(ValueError, match="only an image can be pinned"):
        pictures(2, by=StartBy.PIN)


def test_the_model_says_how_an_image_is_begun_with() -> None:
    generator = with_rollout(tiny_model(), start_by=StartBy.PREFIX).generator
    state, _ = begun(generator, pictures(1))
    assert state.prefix == 3
