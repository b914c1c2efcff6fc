"""Test that a film whose scenes are drawn apart is, byte for byte, the film that is drawn at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import tiny_model
from renders import KilledError, killed_at

from models.checkpoints.assemble import Model
from streaming.film_parts import FilmPart, join, parts_folder, parts_of
from streaming.render_files import RenderError, RenderFiles
from streaming.render_job import Job
from streaming.take import journal
from streaming.take.take_file import Take, parse

# chunks have 3 latents, fragments 5 chunks: cuts at chunks 4, 9 (in the middle of a blend that ends there) and 17
TAKE = """
length: 69
cues:
  - prompt: one
    set: {on_switch: flush}
  - {at: 6, seed: 5}
  - {at: 12, cut: true, prompt: two}
  - {at: 21, prompt: three, blend: 8}
  - {at: 27, cut: true, prompt: four, seed: 9}
  - {at: 51, cut: true}
  - {at: 57, prompt: five}
"""


def take(text: str = TAKE) -> Take:
    return parse(text, "t.yaml")


def render(model: Model, out: Path, script: Take, part: FilmPart | None = None, killed: int | None = None) -> None:
    """Render a film or a part of it, after one that was killed behind chunk `killed`."""
    if killed is not None:
        with pytest.raises(KilledError):
            Job(script, model, out, part=part).run(go_on=False, progress=killed_at(killed))
    Job(script, model, out, part=part).run(go_on=killed is not None)


def journal_of(film: Path) -> list[dict[str, object]]:
    return [line.model_dump(exclude={"seconds"}) for line in journal.read(RenderFiles(film).journal)]


@pytest.mark.parametrize("knot", [0, 1])
def test_scenes_that_are_drawn_apart_give_the_same_film(tmp_path: Path, knot: int) -> None:
    model, script = tiny_model(knot=knot), take()
    whole, film = tmp_path / "whole.mp4", tmp_path / "film.mp4"
    render(model, whole, script)
    parts = parts_of(script, model.entry)
    assert parts == [FilmPart(0, 0, 5), FilmPart(12, 5, 10), FilmPart(27, 10, 20)]
    folder = parts_folder(film)
    folder.mkdir()
    files = [folder / f"{number}.mp4" for number in range(3)]
    for file, part, killed in zip(files, parts, (None, None, 16), strict=True):
        render(model, file, script, part, killed)
    assert join(files, film) == []
    assert not folder.exists()
    Job(script, model, film).run(go_on=True)
    assert film.read_bytes() == whole.read_bytes()
    assert journal_of(film) == journal_of(whole)
    longer = script.model_copy(update={"length": 84})
    for out in (film, whole):  # it can be gone on with as if it had been drawn at once
        Job(longer, model, out).run(go_on=True)
    assert film.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("cut: true, ", ""),  # elsewhere the past matters
        ("prompt: two}", "prompt: two}\n  - {at: 50, recall: 3}"),
        ("prompt: two}", "prompt: two, start: a.png}"),
        ("{on_switch: flush}", "{on_switch: recall}"),
    ],
)
def test_a_take_whose_scenes_depend_on_earlier_ones_is_drawn_whole(was: str, now: str) -> None:
    parts = parts_of(take(TAKE.replace(was, now).replace("  - {at: 51, cut: true}\n", "")), tiny_model().entry)
    assert parts == []


def test_a_cut_under_a_blend_that_may_go_on_begins_no_part() -> None:
    entry, text = tiny_model().entry, TAKE.replace("cut: true, prompt: four, seed: 9", "cut: true")
    assert [part.cut for part in parts_of(take(text), entry)] == [0, 12]


def test_models_that_go_on_over_a_cut_are_not_split() -> None:
    entry = tiny_model().entry
    assert parts_of(take(), replace(entry, driving_features=64)) == []


def test_parts_of_other_weights_are_not_joined(tmp_path: Path) -> None:
    model, script = tiny_model(), take()
    folder = parts_folder(tmp_path / "film.mp4")
    folder.mkdir()
    files = [folder / f"{number}.mp4" for number in range(2)]
    for file, part in zip(files, parts_of(script, model.entry), strict=False):
        render(model, file, script, part)
        model = replace(model, fingerprint="another")
    with pytest.raises(RenderError, match="other weights"):
        join(files, tmp_path / "film.mp4")
    assert all(file.exists() for file in files)
