"""An earlier scene comes back: what is archived, and how it becomes the past."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_model
from rolling import START, next_coordinates, next_sees, roll

from models import archive, recache
from models.cue import Cue, CueError, Cut, OnSwitch, Parameter, Prompt, Recall
from models.generator import Generator
from models.state import TakeState

AWAY: dict[int, list[Cue]] = {**START, 4: [Cut(), Prompt("two")]}


def away(generator: Generator, chunks: int = 9) -> tuple[TakeState, torch.Tensor]:
    """Return a take whose scene "one" had four chunks, and "two" the rest."""
    state = generator.new_take(0, 32, 32)
    return state, roll(generator, state, chunks, AWAY)


def test_a_scene_is_archived_at_its_beginning_and_its_end_and_every_eight_chunks() -> None:
    state, film = away(tiny_model().generator, 10)
    kept = [(s.began, s.stop, s.latents, s.prompt) for s in state.archive]
    assert kept == [(0, 3, 3, "one"), (0, 12, 9, "one"), (12, 15, 3, "two"), (12, 27, 3, "two")]
    assert torch.equal(torch.cat(state.archive[1].chunks, 2), film[:, :, 3:12].half())


def test_recalled_latents_become_the_past_as_if_they_had_just_been_drawn() -> None:
    """The next chunk sees their keys alone, made anew under the prompt that holds, as behind the same prefix."""
    generator = tiny_model().generator
    state, film = away(generator)
    generator.apply_cues(state, [Recall(5)])
    assert (state.prompt, state.scene) == ("one", 27)
    assert next_coordinates(state) == list(range(18, 30))
    fresh = generator.new_take(0, 32, 32)
    generator.apply_cues(fresh, START[0])
    fresh.recent, fresh.index = list(film[:, :, 3:12].half().float().split(3, 2)), 9
    with torch.inference_mode():
        recache.recache(generator.config, generator.transformer, fresh)
    mine, theirs = next_sees(generator, state)[1], next_sees(generator, fresh)[1]
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)  # values, which no rotation turns
    assert torch.equal(torch.cat(state.recent, 2), film[:, :, 3:12].half().float())


def test_the_picture_goes_on_behind_the_recalled_scene() -> None:
    generator = tiny_model().generator
    state, film = away(generator)
    state.codec.decode(film[:, :, :27])
    generator.apply_cues(state, [Recall(0)])
    coming = torch.randn(1, film.shape[1], 3, 4, 4)
    frames = state.codec.decode(coming)
    stream = generator.new_stream()
    stream.decode(film[:, :, 9:12].half().float())
    assert torch.equal(frames, stream.decode(coming))
    assert len(frames) == 12


def test_a_prompt_that_lands_with_a_recall_holds() -> None:
    generator = tiny_model().generator
    state, _ = away(generator)
    generator.apply_cues(state, [Recall(0), Prompt("three")])
    assert state.prompt == "three"
    assert state.text is generator.text("three")


def test_a_recalled_scene_rides_in_snapshots_and_is_dropped_by_a_rewind() -> None:
    generator = tiny_model().generator
    state = generator.new_take(0, 32, 32)
    roll(generator, state, 3, START)
    early = generator.snapshot(state)
    roll(generator, state, 6, {1: [Cut(), Prompt("two")]})
    again = generator.restore(generator.snapshot(state))
    assert torch.equal(generator.draw(again, [Recall(4)]), generator.draw(state, [Recall(4)]))
    assert [s.stop for s in generator.restore(early).archive] == [3]


def test_what_was_never_there_cannot_be_recalled() -> None:
    generator = tiny_model().generator
    state, _ = away(generator)
    with pytest.raises(CueError, match="latent 27 cannot be recalled: the take has 27 latents so far"):
        generator.apply_cues(state, [Recall(27)])
    state.archive = state.archive[2:]
    with pytest.raises(CueError, match="nothing is kept of the scene at latent 5; there are scenes from latent 12"):
        generator.apply_cues(state, [Recall(5)])


@pytest.mark.parametrize(("prompt", "back"), [("one", True), ("three", False)])
def test_with_on_switch_recall_a_prompt_brings_back_the_scene_that_it_means(prompt: str, back: bool) -> None:
    generator = tiny_model().generator
    state, film = away(generator)
    generator.apply_cues(state, [Parameter("on_switch", OnSwitch.RECALL), Prompt(prompt)])
    newest = torch.cat(state.recent, 2)
    assert torch.equal(newest[:, :, -9:], film[:, :, 3:12].half().float()) is back
    assert state.prompt == prompt


def test_an_archive_within_its_budget_keeps_the_first_and_the_ends_of_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = away(tiny_model().generator, 10)
    chunk = state.archive[0].bytes
    monkeypatch.setattr(archive, "BUDGET", 8 * chunk)
    roll(tiny_model().generator, state, 1, {0: [Prompt("three")]})
    assert [(s.began, s.latents) for s in state.archive] == [(0, 3), (0, 9), (12, 9), (30, 3)]
