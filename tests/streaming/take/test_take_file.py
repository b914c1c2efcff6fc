"""A take file is read as it is meant, and a wrong one is answered with its line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.time_grid import TimeGrid
from streaming.take.take_file import TakeError, load, parse

GOOD = "model: pocket\nlength: 10s\ncues:\n  - prompt: one\n  - at: 5s\n    prompt: two\n    blend: 2\n"


def test_a_take_lands_its_cues_on_chunk_borders() -> None:
    take = parse(GOOD, "t.yaml")
    assert [at for at, _ in take.landing(TimeGrid(3, 3), fps=16)] == [0, 21]  # 5 s is latent 20
    assert take.chunks(TimeGrid(3, 3), fps=16) == 14


def test_a_dumped_take_reads_as_itself() -> None:
    take = parse(GOOD, "t.yaml")
    assert parse(take.dumped(), "again") == take


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("cues:\n  - prompt: one\n  - at: soon\n    prompt: two\n", 3, "cues.1.at"),
        ("cues:\n  - prompt: one\n  - at: 3\n    blend: 2\n", 3, "cues.1"),
        ("cues:\n  - prompt: one\nsize: big\n", 3, "size"),
        ("cues:\n  - prompt: one\ncolour: red\n", 3, "colour"),
        ("cues:\n  - at: 4\n    prompt: one\n", 1, "prompt at 0"),
        ("cues:\n  - prompt: one\n    start_image: a.png\n", 2, "not yet"),
        ("cues:\n  - prompt: one\n    set: {anchor: sideways}\n", 3, "anchor"),
        ("cues:\n  - prompt: one\n  - at: 3\n    hush: 9\n", 1, "names no sound"),
        ("cues:\n  - prompt: one\n  - at: 3\n    hush: -1\nsound: a.wav\n", 4, "cues.1.hush"),
        ("cues: [\n", 2, "not valid YAML"),
        ("[]", None, "mapping"),
    ],
)
def test_a_wrong_take_is_answered_with_line_and_field(text: str, line: int | None, says: str) -> None:
    with pytest.raises(TakeError) as caught:
        parse(text, "t.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert says in message
    if line is not None:
        assert message.startswith(f"t.yaml:{line}:")


@given(st.text(max_size=200))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    try:
        parse(text, "t.yaml")
        parse("cues:\n  - " + text, "t.yaml")
    except TakeError as e:
        assert "\n" not in str(e)  # noqa: PT017


def test_longlive_jsonl_and_plain_text_become_takes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompts": ["one", "two"]}) + "\n")
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    for name in ("a.jsonl", "a.txt"):
        take = load(tmp_path / name)
        assert [(e.at, e.prompt) for e in take.cues] == [(0, "one"), (40, "two")]
        assert [at for at, _ in take.landing(TimeGrid(3, 3), 16)] == [0, 42]
    assert load(tmp_path / "a.txt", switch_at=12).length == 24
