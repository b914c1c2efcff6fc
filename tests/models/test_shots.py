"""A cut in a model that goes on from the shot before keeps that shot's first chunk, and moves time on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model, with_rollout
from hypothesis import given, settings
from hypothesis import strategies as st
from rolling import next_coordinates, roll

from models.cache_shape import AnchorPolicy, ShotRule
from models.cache_snapshot import Shots
from models.checkpoints.assemble import Model
from models.checkpoints.snapshot_file import load_snapshot, save_snapshot
from models.cue import Cut, OnSwitch, Prompt, Recache
from models.ring_places import RingPlaces


def shot_model(rule: ShotRule, window: int = 12) -> Model:
    return with_rollout(tiny_model(AnchorPolicy.FIXED), window=window, on_switch=OnSwitch.NONE, shots=rule)


def test_the_next_chunk_sees_both_sinks_and_the_newest_chunks() -> None:
    generator = shot_model(ShotRule(8.0, prefix="Cut. ")).generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 8, {0: [Prompt("one")], 3: [Cut(), Prompt("two")]})
    moved = [c + 8 for c in (9, 10, 11, *range(21, 27))]
    assert next_coordinates(state) == [0, 1, 2, *moved]


def test_only_the_first_chunk_of_a_shot_has_the_prefix() -> None:
    generator = shot_model(ShotRule(8.0, prefix="Cut. ")).generator
    state = generator.new_take(0, 32, 32)
    read = []
    for chunk in range(4):
        generator.draw(state, {0: [Cut(), Prompt("one")], 2: [Cut(), Prompt("two")]}.get(chunk, []))
        assert state.text is not None
        known = {text: generator.text(text).embeddings for text in ("one", "two", "Cut. two", "Cut. one")}
        read += [text for text, value in known.items() if torch.equal(value, state.text.embeddings)]
    assert read == ["one", "one", "Cut. two", "two"]


def test_a_cut_needs_no_recache_even_where_a_new_prompt_does(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_rollout(shot_model(ShotRule(8.0)), on_switch=OnSwitch.RECACHE)
    state = model.generator.new_take(0, 32, 32)
    recached: list[int] = []
    begin = state.cache.begin_recache
    monkeypatch.setattr(state.cache, "begin_recache", lambda first, n: (recached.append(n), begin(first, n))[1])
    cues = {0: [Prompt("one")], 2: [Cut(), Prompt("two")], 7: [Prompt("three")]}
    roll(model.generator, state, 8, cues)
    assert recached == [12 - 3 - 3]  # all that the next chunk saw but the two sinks


def test_a_snapshot_without_keys_keeps_what_no_latent_is_held_of() -> None:
    generator = shot_model(ShotRule(8.0)).generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 9, {0: [Prompt("one")], 3: [Cut()]})
    sees = next_coordinates(state)
    again = generator.restore(generator.snapshot(state, keys=False))
    assert again.cache.keys_missing
    generator.apply_cues(again, [Recache()])
    assert not again.cache.keys_missing
    assert next_coordinates(again) == sees
    assert torch.isfinite(generator.draw(again)).all()


def test_a_file_keeps_what_cuts_left_behind(tmp_path: Path) -> None:
    generator = shot_model(ShotRule(8)).generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 6, {0: [Prompt("one")], 3: [Cut(), Prompt("two")]})
    save_snapshot(generator.snapshot(state), tmp_path / "s")
    again = generator.restore(load_snapshot(tmp_path / "s", torch.device("cpu"), torch.float32))
    assert torch.equal(roll(generator, again, 3), roll(generator, state, 3))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.booleans(), st.integers(4, 6))
def test_no_two_visible_latents_share_a_place(cuts: list[bool], fresh: bool, chunks: int) -> None:
    ring = RingPlaces(2, 2 * (chunks - 1), 2)
    for chunk, cut in enumerate(cuts):
        first, n = 2 * chunk, 2
        if cut and chunk:
            ring.begin_shot(first, n, ShotRule(3.5, fresh=fresh))
        ring.make_room(first, n)
        before = ring.places(range(first, first + n))
        ring.drop_before_shot(first)
        ring.make_room(first, n)
        places = ring.places(range(first, first + n))
        assert fresh or places == before, "a chunk is committed where it was drawn"
        if first >= 2:
            ring.hold(range(first, first + n), places)
        ring.keep_shot(range(first, first + n))
        assert len(set(ring.visible.values())) == len(ring.visible) <= 2 * (chunks - 1)
        assert all(2 <= place < 2 + 2 * (chunks - 1) for place in ring.visible.values())
        starts = [2 * i for i, c in enumerate(cuts[: chunk + 1]) if c and i]
        assert all(latent in ring.visible for start in starts[-1:] for latent in (start, start + 1))
        assert ring.coordinate(first) == first + 3.5 * len(starts)
        assert len(ring.shots.offsets) <= 2 * chunks


@pytest.mark.parametrize("rule", [ShotRule(fresh=True, sink=False), ShotRule()])
def test_a_rule_that_the_window_has_no_room_for_is_refused(rule: ShotRule) -> None:
    with pytest.raises(ValueError, match=r"no room|begins afresh"):
        replace(shot_model(ShotRule()).entry.rollout, window=6, sink=3, shots=rule)


def test_a_take_without_cuts_has_no_shots() -> None:
    ring = RingPlaces(0, 9, 3)
    assert ring.shots == Shots()
    assert ring.coordinate(7) == 7
