"""A model without a clean pass keeps the keys that its steps wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_model, with_rollout
from rolling import START, roll

from models.cache_shape import StepKeys
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Cue, CueError, Cut, OnSwitch, Parameter, Prompt, Recache, Recall, Seed, Start, StartBy
from models.dataclass_tree import equal
from models.generator import Generator

PLAIN = StepKeys()


def unclean(rule: StepKeys = PLAIN) -> Generator:
    rolled = with_rollout(
        tiny_model(), chunk=1, first_chunk=2, window=6, sink=3, on_switch=OnSwitch.NONE, step_keys=rule
    )
    return rolled.generator


def image(frames: int) -> bytes:
    return bytes(32 * 32 * 3 * frames)


@pytest.mark.parametrize("rule", [PLAIN, StepKeys(8, 0.9)])
def test_a_take_goes_on_from_a_file_of_a_snapshot_to_the_bit(rule: StepKeys, tmp_path: Path) -> None:
    generator = unclean(rule)
    whole = roll(generator, generator.new_take((1, 2), 32, 32), 14, START)
    for stop in (1, 4, 9):
        state = generator.new_take((1, 2), 32, 32)
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


def test_behind_a_cut_nothing_of_the_past_is_seen() -> None:
    generator = unclean()
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
