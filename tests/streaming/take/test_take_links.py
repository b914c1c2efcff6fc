"""A take's files are told apart from links by where they are reached, whatever the name looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.commands.outputs import OutputError, require_film
from streaming.take.take_file import parse
from streaming.take.take_links import LinkError, refuse_links

TAKES = {
    "start": "cues: [{prompt: x, start: NAME}]",
    "source": "cues: [{prompt: x, source: NAME}]",
    "mask": "cues: [{prompt: x, source: film.mp4, region: NAME}]",
    "lora": "cues: [{prompt: x, lora: 'NAME:1'}]",
    "lora elsewhere": "loras: {a: NAME}\ncues: [{prompt: x, lora: 'a:1'}]",
    "portrait": "reference: NAME\ncues: [{prompt: x}]",
    "sound": "sound: NAME\ncues: [{prompt: x}]",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder, reached through a link of its own, with files, a link to one, and a link to a folder."""
    real = tmp_path / "real"
    (real / "below").mkdir(parents=True)
    for name in ("a.png", "a.wav", "film.mp4", "below/a.png"):
        (real / name).touch()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.png").touch()
    for name in ("link.png", "link.wav"):
        (real / name).symlink_to(real / name.replace("link", "a"))
    (real / "there").symlink_to(tmp_path / "outside")
    (tmp_path / "takes").symlink_to(real)
    return tmp_path / "takes"


@pytest.mark.parametrize("kind", TAKES)
def test_a_link_is_refused_wherever_a_take_names_a_file(folder: Path, kind: str) -> None:
    suffix = "wav" if kind == "sound" else "png"
    refuse_links(parse(TAKES[kind].replace("NAME", f"a.{suffix}"), "t.yaml"), folder)
    with pytest.raises(LinkError, match=f"link.{suffix}: is a symbolic link"):
        refuse_links(parse(TAKES[kind].replace("NAME", f"link.{suffix}"), "t.yaml"), folder)


def test_a_link_that_leads_to_itself_is_a_link(folder: Path) -> None:
    (folder / "loop.png").symlink_to("loop.png")
    with pytest.raises(LinkError, match=r"loop\.png: is a symbolic link"):
        refuse_links(parse(TAKES["start"].replace("NAME", "loop.png"), "t.yaml"), folder)
    (folder / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(OutputError, match=r"loop\.mp4: cannot be written \(Too many levels of symbolic links\)"):
        require_film(folder / "loop.mp4")


@pytest.mark.parametrize("name", ["below/a.png", "./a.png", "below//a.png", "none.png"])
def test_a_plain_name_is_no_link_however_it_is_written(folder: Path, name: str) -> None:
    refuse_links(parse(TAKES["start"].replace("NAME", name), "t.yaml"), folder)


def test_a_file_behind_a_link_to_a_folder_is_refused(folder: Path) -> None:
    with pytest.raises(LinkError, match=r"there/a\.png"):
        refuse_links(parse(TAKES["start"].replace("NAME", "there/a.png"), "t.yaml"), folder)
