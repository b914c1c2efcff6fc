"""Pictures and films of the command line go into a take's first cue, and never take the place of its own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.commands import CommandError
from app.commands.options import FitChoice
from app.commands.render_pictures import Pictures
from streaming.take.take_file import parse


def pictures(**given: Any) -> Pictures:
    options = dict.fromkeys(("image", "video", "source", "strength", "region", "start_by")) | {"fit": FitChoice.CROP}
    return Pictures(**(options | given))  # type: ignore[arg-type]


@pytest.mark.parametrize("at", ["0", "0ms", "0min", "0:00"])
def test_a_picture_goes_into_the_prompt_at_the_start_wherever_it_stands_in_the_file(at: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    take = parse(f"cues:\n  - {{at: 6s, prompt: later}}\n  - {{at: {at}, prompt: first}}\n", "t.yaml")
    added = pictures(image=tmp_path / "a.png").added_to(take, tmp_path)
    assert [(cue.prompt, cue.start) for cue in added.cues] == [("later", None), ("first", "a.png")]


@pytest.mark.parametrize("option", ["image", "source", "region"])
def test_a_file_with_the_name_of_one_of_the_takes_own_is_refused(option: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    take = parse("cues:\n  - {prompt: first}\n  - {at: 6s, start: a.png}\n", "t.yaml")
    given = str(tmp_path / "a.png") if option == "region" else tmp_path / "a.png"
    with pytest.raises(CommandError, match=r"the take names a file a\.png of its own; give one of them another name"):
        pictures(**{option: given}).added_to(take, tmp_path / "elsewhere")
    assert pictures(**{option: given, "source": tmp_path / "a.png"}).added_to(take, tmp_path).cues[1] == take.cues[1]


@pytest.mark.parametrize("name", ["a:b.png", "a\u202eb.png", "camera", "none"])
def test_a_file_that_a_take_cannot_name_is_refused_by_its_path(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CommandError, match=r"a take cannot name this file|as a source is no file") as refused:
        pictures(source=tmp_path / name).added_to(parse("cues: [{prompt: first}]", "t.yaml"), tmp_path)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("option", "name", "why"),
    [
        ("image", "a.mp4", "an MP4 file, and no picture; --video goes on from a film"),
        ("image", "a.webm", "a Matroska or WebM video, and no picture; --video goes on from a film"),
        ("video", "a.png", "a PNG picture, and no film to go on from; --image begins with a picture"),
        ("video", "a.gif", "a GIF picture, and no film to go on from; save it as MP4 or WebM"),
    ],
)
def test_an_option_for_pictures_takes_no_film_and_one_for_films_no_picture(
    option: str, name: str, why: str, tmp_path: Path
) -> None:
    heads = {
        "a.mp4": b"\0\0\0\x18ftypisom",
        "a.webm": b"\x1a\x45\xdf\xa3",
        "a.png": b"\x89PNG\r\n\x1a\n",
        "a.gif": b"GIF89a",
    }
    for other, head in heads.items():
        (tmp_path / other).write_bytes(head)
    take = parse("cues: [{prompt: first}]", "t.yaml")
    with pytest.raises(CommandError) as refused:
        pictures(**{option: tmp_path / name}).added_to(take, tmp_path)
    assert str(refused.value) == f"--{option} {tmp_path / name}: {why}"
    taken = {"image": "a.gif", "video": "a.mp4"}[option]
    assert pictures(**{option: tmp_path / taken}).added_to(take, tmp_path).cues[0].start == taken


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 0.0, -0.5, 1.5])
def test_a_strength_that_is_none_is_refused_by_its_option(strength: float, tmp_path: Path) -> None:
    take = parse("cues: [{prompt: first}]", "t.yaml")
    with pytest.raises(CommandError, match=r"--strength is a number above 0 and up to 1, not"):
        pictures(strength=strength).added_to(take, tmp_path)


@pytest.mark.parametrize(("option", "value"), [("strength", 0.5), ("region", "10%,10%,50%,50%")])
def test_an_option_does_not_replace_what_the_take_says(option: str, value: object, tmp_path: Path) -> None:
    take = parse("cues: [{prompt: first, source: camera, strength: 0.3, region: '0%,0%,50%,50%'}]", "t.yaml")
    with pytest.raises(CommandError, match=f"the take has a {option} already"):
        pictures(**{option: value}).added_to(take, tmp_path)
