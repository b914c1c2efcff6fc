"""A take follows a source: its controller, its strength, its region."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from rolling import START
from safetensors import safe_open

from models import source
from models.cue import Cue, CueError, Follow, Prompt, Region, Unfollow
from models.generator import Generator
from models.source import Encoded, controlled, motion, share_of_motion
from models.state import TakeState

GOLDEN = Path(__file__).parents[1] / "golden" / "v2v_streamdiffusionv2.safetensors"


class Film:
    """Give random frames, the same for the same number."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def frames(self, source: str, first: int, count: int) -> torch.Tensor | Encoded:
        self.asked.append((first, count))
        made = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8) for i in range(first, first + count)]
        return torch.from_numpy(np.stack(made))


class Recording:
    """Give again what a take was given, chunk by chunk."""

    def __init__(self, given: list[Encoded]) -> None:
        self._given = iter(given)

    def frames(self, source: str, first: int, count: int) -> torch.Tensor | Encoded:
        return next(self._given)


def follow(
    generator: Generator, film: Film | Recording, chunks: int, cues: dict[int, list[Cue]]
) -> tuple[TakeState, torch.Tensor, list[Encoded]]:
    state = generator.new_take(0, 32, 32)
    out, given = [], []
    for i in range(chunks):
        out.append(generator.draw(state, cues.get(i, []), footage=film))
        generator.commit(state)
        if state.source is not None and state.source.newest is not None:
            given.append(state.source.newest)
    return state, torch.cat(out, 2), given


def test_the_controller_equals_streamdiffusionv2() -> None:
    with safe_open(GOLDEN, "pt") as f:
        changes = f.get_tensor("controller.rms_per_frame")
        for base in (0.8, 0.7, 0.5):
            strength, made = base, []
            for chunk in range(12):
                strength = controlled(base, strength, share_of_motion(changes[4 + 4 * chunk : 8 + 4 * chunk]))
                made.append(strength)
            assert made == f.get_tensor(f"controller.noise_scale.{base}").tolist()


def test_motion_is_the_largest_change_from_frame_to_frame_the_one_before_included() -> None:
    still = torch.full((1, 8, 8, 3), 100, dtype=torch.uint8)
    assert motion(still, None) == 0
    assert motion(still, still) == 0
    slow = still + 10  # 2 · 10 / 255 in values of -1 … 1
    assert motion(torch.cat([still, slow]), still) == pytest.approx(2 * 10 / 255 / 0.2)
    assert motion(slow, still) == pytest.approx(2 * 10 / 255 / 0.2)
    assert motion(still + 100, still) == 1


def test_motion_is_measured_where_the_frames_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    """A film is read into the host's memory, and the frame before may come from a file, on the take's device."""
    measured: list[torch.device] = []
    monkeypatch.setattr(source, "share_of_motion", lambda changes: measured.append(changes.device))
    frames = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    motion(frames.to("meta"), frames[:1])
    assert measured == [torch.device("meta")]


def test_a_source_is_asked_for_the_frames_of_each_chunk_and_the_first_latent_is_one_frame() -> None:
    film = Film()
    follow(tiny_model().generator, film, 3, {0: [Prompt("one"), Follow("a")]})
    assert film.asked == [(0, 9), (9, 12), (21, 12)]
    film = Film()
    follow(tiny_model().generator, film, 3, {**START, 1: [Follow("a")], 2: [Follow("b")]})
    assert film.asked == [(0, 12), (0, 12)]


def test_the_weaker_the_strength_the_nearer_the_take_is_to_its_source() -> None:
    generator = tiny_model().generator
    apart = []
    for strength in (0.05, 0.5, 1.0):
        _, film, given = follow(generator, Film(), 2, {0: [Prompt("one"), Follow("a", strength)]})
        apart.append(float((film - torch.cat([g.latents.float() for g in given], 2)).abs().mean()))
    assert apart == sorted(apart)
    assert apart[0] < 0.2 * apart[2]


def test_outside_a_region_the_source_stays_to_the_bit() -> None:
    generator = tiny_model().generator
    cells = "0000011001100000"
    region = Region(cells, 4, 4)
    _, film, given = follow(generator, Film(), 2, {0: [Prompt("one"), Follow("a", 1.0, region)]})
    source = torch.cat([g.latents.float() for g in given], 2)
    drawn = torch.tensor([c == "1" for c in cells]).view(4, 4)
    assert torch.equal(film[..., ~drawn], source[..., ~drawn])
    assert (film != source)[..., drawn].all()
    with pytest.raises(CueError, match="the region has 2x2 cells, the picture 4x4"):
        follow(generator, Film(), 1, {0: [Prompt("one"), Follow("a", region=Region("0110", 2, 2))]})


def test_a_strength_alone_changes_how_the_present_source_is_followed() -> None:
    generator = tiny_model().generator
    state, _, _ = follow(generator, Film(), 3, {0: [Prompt("one"), Follow("a")], 2: [Follow(strength=0.9)]})
    assert state.source is not None
    assert (state.source.source, state.source.since, state.source.base) == ("a", 0, 0.9)
    with pytest.raises(CueError, match="name one with source"):
        follow(generator, Film(), 1, {0: [Prompt("one"), Follow(strength=0.9)]})
    state, _, _ = follow(generator, Film(), 3, {0: [Prompt("one"), Follow("a")], 2: [Unfollow()]})
    assert state.source is None


def test_a_snapshot_of_a_take_that_follows_goes_on_to_the_bit_and_so_does_a_recording() -> None:
    generator = tiny_model().generator
    cues: dict[int, list[Cue]] = {**START, 1: [Follow("a", 0.6)]}
    _, film, given = follow(generator, Film(), 4, cues)
    _, again, _ = follow(generator, Recording(given), 4, cues)
    assert torch.equal(again, film)
    state, _, _ = follow(generator, Film(), 2, cues)
    restored = generator.restore(generator.snapshot(state))
    assert torch.equal(generator.draw(restored, footage=Film()), film[:, :, 6:9])
