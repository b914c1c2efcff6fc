"""A model without a clean pass keeps the keys that its steps wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_model, with_rollout
from rolling import START, roll

from models.cache_shape import StepKeys
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import (
    Cue,
    CueError,
    Cut,
    Follow,
    OnSwitch,
    Parameter,
    Prompt,
    Recache,
    Recall,
    Region,
    Seed,
    Start,
    StartBy,
)
from models.dataclass_tree import equal
from models.generator import Generator

PLAIN = StepKeys()
BATCH = StepKeys(8, 0.9, batch=True)


def unclean(rule: StepKeys = PLAIN) -> Generator:
    rolled = with_rollout(
        tiny_model(), chunk=1, first_chunk=2, window=6, sink=3, on_switch=OnSwitch.NONE, step_keys=rule
    )
    return rolled.generator


def image(frames: int) -> bytes:
    return bytes(32 * 32 * 3 * frames)


@pytest.mark.parametrize(("rule", "seeds"), [(PLAIN, (1, 2)), (StepKeys(8, 0.9), (1, 2)), (BATCH, (1,))])
def test_a_take_goes_on_from_a_file_of_a_snapshot_to_the_bit(
    rule: StepKeys, seeds: tuple[int, ...], tmp_path: Path
) -> None:
    generator = unclean(rule)
    whole = roll(generator, generator.new_take(seeds, 32, 32), 14, START)
    for stop in (1, 4, 9):
        state = generator.new_take(seeds, 32, 32)
        roll(generator, state, stop, START)
        save_snapshot(generator.snapshot(state), tmp_path / "a.safetensors")
        snapshot = load_snapshot(tmp_path / "a.safetensors", torch.device("cpu"), torch.float32)
        again = generator.restore(snapshot)
        assert equal(generator.snapshot(again).cache, snapshot.cache)
        assert torch.equal(roll(generator, again, 3), whole[:, :, 1 + stop : 4 + stop])


def test_neighbouring_snapshots_share_the_slots_that_no_step_wrote() -> None:
    generator = unclean()
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 8, START)
    before = generator.snapshot(state).cache.pieces
    roll(generator, state, 1)
    after = generator.snapshot(state).cache.pieces
    assert [a is b for a, b in zip(before, after, strict=True)].count(False) == 2


@pytest.mark.parametrize("rule", [PLAIN, BATCH])
def test_behind_a_cut_nothing_of_the_past_is_seen(rule: StepKeys) -> None:
    generator = unclean(rule)
    made = []
    for before in (START, {0: [Prompt("other")]}):
        state = generator.new_take(0, 32, 32)
        roll(generator, state, 4, before)
        made.append(roll(generator, state, 8, {0: [Cut(), Prompt("two"), Seed(5)]}))
    assert torch.equal(*made)


def test_another_prompt_changes_what_comes_next_and_makes_no_key_anew() -> None:
    generator = unclean()
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 4, START)
    snapshot = generator.snapshot(state)
    kept = roll(generator, generator.restore(snapshot), 1)
    other = generator.restore(snapshot)
    generator.apply_cues(other, [Prompt("two")])
    assert equal(generator.snapshot(other).cache, snapshot.cache)
    assert not torch.equal(roll(generator, other, 1), kept)


@pytest.mark.parametrize(
    "cue",
    [
        Recall(0),
        Recache(),
        Parameter("on_switch", "recache"),
        Parameter("on_lora", "flush"),
        Parameter("sink_on_switch", "reanchor"),
        Parameter("anchor", "trailing"),
        Start(image(5), 32, 32),
        Start(image(1), 32, 32, StartBy.PREFIX),
    ],
)
def test_a_cue_that_needs_a_clean_pass_is_refused_and_changes_nothing(cue: Cue) -> None:
    generator = unclean()
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 3, START)
    before = generator.snapshot(state)
    with pytest.raises(CueError, match="no clean pass"):
        generator.draw(state, [cue])
    assert equal(generator.snapshot(state), before)


def test_a_configuration_that_needs_a_clean_pass_is_refused() -> None:
    for wrong in ({"on_switch": OnSwitch.RECACHE}, {"knot": 1}, {"start_by": StartBy.PREFIX}):
        with pytest.raises(ValueError, match="without a clean pass"):
            with_rollout(tiny_model(), chunk=1, step_keys=PLAIN, **({"on_switch": OnSwitch.NONE} | wrong))
    with pytest.raises(ValueError, match="behind the window of 12 latents, not at 4"):
        with_rollout(tiny_model(), chunk=1, on_switch=OnSwitch.NONE, step_keys=StepKeys(restart=4))


class Film:
    """Give other frames for each frame number, and tell which ones were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def frames(self, source: str, first: int, count: int) -> torch.Tensor:
        self.asked.append((first, count))
        numbers = torch.arange(first, first + count, dtype=torch.uint8).view(-1, 1, 1, 1)
        return (10 * numbers).expand(-1, 32, 32, 3).contiguous()


def followed(generator: Generator, chunks: int, cues: dict[int, list[Cue]], film: Film) -> list[torch.Tensor]:
    state = generator.new_take(1, 32, 32)
    return [generator.draw(state, cues.get(i, []), footage=film) for i in range(chunks)]


def test_a_stream_batch_runs_a_pass_a_chunk_and_reads_its_source_a_chunk_ahead() -> None:
    generator, film, passes = unclean(BATCH), Film(), []
    state = generator.new_take(1, 32, 32)
    for i in range(5):
        cues: list[Cue] = [Prompt("one"), Follow("film", 0.6)] if i == 0 else []
        before = len(passes)
        generator.draw(state, cues, before_step=lambda: passes.append(1), footage=film)
        assert len(passes) - before == (2 if i < 2 else 1)  # the first two fill the rows
    assert film.asked == [(0, 5), (5, 4), (9, 4), (13, 4), (17, 4), (21, 4)]


def test_a_cut_in_a_stream_batch_draws_anew_what_was_under_way_and_reads_no_frame_twice() -> None:
    film = Film()
    cues: dict[int, list[Cue]] = {0: [Prompt("one"), Follow("film", 0.6)], 3: [Cut()], 4: [Cut()]}
    made = followed(unclean(BATCH), 8, cues, film)
    assert [first for first, _ in film.asked] == [0, 5, 9, 13, 17, 21, 25, 29, 33]
    other = followed(
        unclean(BATCH), 8, {**cues, 0: [Prompt("two"), Follow("film", 0.6)], 3: [Cut(), Prompt("one")]}, Film()
    )
    assert not torch.equal(made[2], other[2])
    assert all(torch.equal(a, b) for a, b in zip(made[4:], other[4:], strict=True))


def test_outside_a_region_a_stream_batch_leaves_the_source_as_it_is() -> None:
    generator = unclean(BATCH)
    cells = 32 // generator.stride
    region = Region("1" * (cells * cells - 1) + "0", cells, cells)
    film = followed(generator, 4, {0: [Prompt("one"), Follow("film", 0.6, region)]}, Film())
    plain = followed(generator, 4, {0: [Prompt("two"), Follow("film", 0.3, region)]}, Film())
    for a, b in zip(film, plain, strict=True):
        assert torch.equal(a[..., -1, -1], b[..., -1, -1])
        assert not torch.equal(a[..., 0, 0], b[..., 0, 0])


def test_another_source_is_shown_from_its_first_frame_on_in_a_stream_batch() -> None:
    film = Film()
    followed(unclean(BATCH), 5, {0: [Prompt("one"), Follow("film", 0.6)], 2: [Follow("other", 0.6)]}, film)
    assert film.asked == [(0, 5), (5, 4), (9, 4), (0, 4), (4, 4), (8, 4)]


def test_a_stream_batch_of_several_takes_or_with_guidance_is_refused() -> None:
    with pytest.raises(CueError, match="draws one take"):
        unclean(BATCH).new_take((1, 2), 32, 32)
    with pytest.raises(ValueError, match="no guidance"):
        with_rollout(tiny_model(), chunk=1, on_switch=OnSwitch.NONE, step_keys=BATCH, guidance=3.0)
