"""Test that a rollout gives a chunk's frames before its clean pass, and that omitting the pass changes no latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_model

from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Cue, Cut, Parameter, Prompt, Seed
from streaming.rollout import Rollout
from streaming.take.take_file import CueLine, Take

TAKE = Take(model="tiny", seed=5, length=30, cues=[CueLine(prompt="one")])

CUES: dict[str, list[Cue]] = {
    "nothing": [],
    "another prompt": [Prompt("two")],
    "the same prompt": [Prompt("one")],
    "a blend": [Prompt("two", blend=3)],
    "a cut": [Cut(), Prompt("two")],
    "another seed": [Seed(9)],
    "another anchor": [Parameter("anchor", "fixed")],
    "another anchor and prompt": [Parameter("anchor", "fixed"), Prompt("two")],
    "a prompt and old keys": [Parameter("on_switch", "none"), Prompt("two")],
    "a prompt and a flush": [Parameter("on_switch", "flush"), Prompt("two")],
    "a prompt and nothing kept": [Parameter("on_switch", "clear"), Prompt("two")],
    "a prompt and a new sink": [Parameter("sink_on_switch", "reanchor"), Prompt("two")],
}


def drawn(rollout: Rollout, cues: list[Cue], at: int, *, chunks: int, settle: str) -> list[str]:
    """Return the hashes of the next `chunks` chunks; the cues land on the chunk at latent `at`."""
    hashes = []
    for _ in range(chunks):
        first = rollout.step(cues if rollout.state.index == at else []).first
        known = settle == "foreseen" and first + 3 == at
        hashes.append(rollout.settle(cues if known else []).hash)
    return hashes


@pytest.mark.parametrize("cues", CUES.values(), ids=CUES)
@pytest.mark.parametrize("at", [3, 12, 18])
def test_cues_known_before_the_boundary_give_the_same_latents_as_cues_that_come_after(cues: list[Cue], at: int) -> None:
    surprised = drawn(Rollout(tiny_model(), TAKE), cues, at, chunks=10, settle="surprised")
    assert drawn(Rollout(tiny_model(), TAKE), cues, at, chunks=10, settle="foreseen") == surprised


@pytest.mark.parametrize("cues", CUES.values(), ids=CUES)
def test_cues_that_were_announced_and_do_not_land_change_no_latents(cues: list[Cue]) -> None:
    """Check the rollout itself and one that goes on from a snapshot."""
    plain = drawn(Rollout(tiny_model(), TAKE), [], 0, chunks=8, settle="surprised")
    rollout = Rollout(tiny_model(), TAKE)
    drawn(rollout, [], 0, chunks=5, settle="surprised")
    rollout.step()
    rollout.settle(cues)
    again = Rollout(tiny_model(), TAKE, rollout.snapshot())
    assert drawn(rollout, [], 0, chunks=2, settle="surprised") == plain[6:]
    assert drawn(again, [], 0, chunks=2, settle="surprised") == plain[6:]


def test_frames_come_before_the_clean_pass_and_the_hash_after_it() -> None:
    rollout = Rollout(tiny_model(), TAKE)
    chunk = rollout.step()
    assert chunk.frames.shape == (9, 32, 32, 3)
    assert rollout.state.pending
    boundary = rollout.settle()
    assert not rollout.state.pending
    assert (boundary.frames == chunk.frames).all()
    assert set(boundary.seconds) == {"draw", "decode", "commit"}


@pytest.mark.parametrize(
    ("cues", "runs"),
    [
        ("another prompt", False),
        ("a cut", False),
        ("a prompt and nothing kept", False),
        ("a prompt and old keys", True),
    ],
)
def test_a_clean_pass_that_a_cue_makes_useless_is_left_out(cues: str, runs: bool) -> None:
    rollout = Rollout(tiny_model(), TAKE)
    rollout.step()
    assert ("commit" in rollout.settle(CUES[cues]).seconds) is runs


def test_the_clean_pass_is_left_out_before_the_takes_own_switches_and_blends() -> None:
    entries = [CueLine(prompt="one"), CueLine(at=6, prompt="two", blend=2), CueLine(at=15, cut=True)]
    boundaries = Rollout(tiny_model(), TAKE.model_copy(update={"cues": entries})).until(6)
    assert [b.first for b in boundaries if "commit" not in b.seconds] == [3, 6, 12]


def test_a_snapshot_without_its_clean_pass_goes_on_from_a_file(tmp_path: Path) -> None:
    rollout = Rollout(tiny_model(), TAKE)
    drawn(rollout, [], 0, chunks=5, settle="surprised")
    rollout.step()
    rollout.settle([Prompt("two")])
    file = tmp_path / "snapshot.safetensors"
    save_snapshot(rollout.snapshot(), file)
    read = load_snapshot(file, torch.device("cpu"), torch.float32)
    assert read.take.pending
    again = Rollout(tiny_model(), TAKE, read)
    assert drawn(again, [], 0, chunks=3, settle="") == drawn(rollout, [], 0, chunks=3, settle="")


def test_settle_without_a_chunk_is_refused() -> None:
    rollout = Rollout(tiny_model(), TAKE)
    with pytest.raises(ValueError, match="no chunk to settle"):
        rollout.settle()
    rollout.step()
    rollout.settle()
    with pytest.raises(ValueError, match="no chunk to settle"):
        rollout.settle()


def kept(chunks: int, keep_mb: float = 100.0) -> tuple[Rollout, list[str]]:
    """Return a rollout with snapshots after so many chunks, and the hashes of the chunks."""
    rollout = Rollout(tiny_model(), TAKE, keep_mb=keep_mb)
    return rollout, drawn(rollout, [Prompt("two")], 12, chunks=chunks, settle="surprised")


def test_going_back_gives_the_same_chunks_again_and_drops_later_snapshots() -> None:
    rollout, hashes = kept(8)
    assert rollout.oldest() == 3
    assert rollout.go_back(14) == 12  # the boundary before it
    assert rollout.state.index == 12
    with pytest.raises(ValueError, match="no chunk to settle"):
        rollout.settle()
    assert drawn(rollout, [Prompt("two")], 12, chunks=4, settle="surprised") == hashes[4:]
    rollout.go_back(6)
    assert rollout.go_back(20) == 6


def test_a_held_boundary_is_kept_though_the_budget_drops_it() -> None:
    rollout, _ = kept(3, keep_mb=0.0)
    assert rollout.hold(9) == 9
    drawn(rollout, [Prompt("two")], 12, chunks=3, settle="surprised")
    assert rollout.oldest() == 18
    assert rollout.go_back(9) == 9
    assert drawn(rollout, [Prompt("two")], 12, chunks=5, settle="surprised") == kept(8)[1][3:]
    with pytest.raises(ValueError, match="latent 9 is not held; one can go back to 24"):
        rollout.go_back(9)


def test_going_back_reaches_its_own_boundary_though_an_earlier_one_is_held_for_the_next_time() -> None:
    rollout, _ = kept(5)
    rollout.hold(6)
    assert rollout.go_back(12) == 12
    assert rollout.go_back(6) == 6


def test_snapshots_take_memory_until_they_are_released() -> None:
    rollout, _ = kept(4)
    assert 0.1 < rollout.held_mb() < 100
    rollout.forget()
    assert (rollout.oldest(), rollout.held_mb()) == (None, 0)
    with pytest.raises(ValueError, match="one can go back to None"):
        rollout.hold(3)
    assert Rollout(tiny_model(), TAKE).oldest() is None
