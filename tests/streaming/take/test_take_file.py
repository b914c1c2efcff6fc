"""Test that a take file is read as its writer meant it, and that a wrong one is refused with its line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.catalog import AVATAR, POCKET
from models.cue import MOST_CHARACTERS
from models.errors import UserError
from models.time_grid import TimeGrid
from streaming.take.take_file import MOST_CUES, CueLine, Take, TakeError, load, parse, read_take_file
from streaming.take.take_notes import notes_on

GOOD = "model: pocket\nlength: 10s\ncues:\n  - prompt: one\n  - at: 5s\n    prompt: two\n    blend: 2\n"
STORY = '{"prompts": ["one", "two"]}'


def refusal(text: str | bytes, path: Path) -> str:
    """Return the message with which a file of this content is refused."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TakeError) as caught:
        read_take_file(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def prompts(path: Path, text: str | bytes) -> list[list[str | None]]:
    """Return the prompts of every take in a file of this content."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [[cue.prompt for cue in take.cues] for take in read_take_file(path).takes]


def test_cues_land_on_chunk_borders() -> None:
    take = parse(GOOD, "t.yaml")
    assert [at for at, _ in take.landing(TimeGrid(3, 3), fps=16)] == [0, 21]  # 5 s is latent 20
    assert take.chunks(TimeGrid(3, 3), fps=16) == 14


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("cues:\n  - prompt: one\n  - at: soon\n    prompt: two\n", 3, "cues.1.at"),
        ("cues:\n  - prompt: one\n  - at: 3\n    blend: 2\n", 3, "cues.1"),
        ("cues:\n  - prompt: one\nsize: big\n", 3, "size"),
        ("cues:\n  - prompt: one\ncolour: red\n", 3, "colour: no such field"),
        ("cues:\n  - prompt: one\nlenght: 3s\n", 3, "did you mean length?"),
        ("cues:\n  - prompts: one\n", 2, "did you mean prompt?"),
        ("cues:\n  - at: 4\n    prompt: one\n", 1, "prompt at 0"),
        ("cues:\n  - prompt: one\n    start_image: a.png\n", 2, "is written as start: picture.png"),
        ("cues:\n  - prompt: one\n    set: {anchor: sideways}\n", 3, "anchor"),
        ("cues:\n  - prompt: one\n  - at: 3\n    hush: 9\n", 1, "names no sound"),
        ("cues:\n  - prompt: one\n  - at: 3\n    hush: -1\nsound: a.wav\n", 4, "cues.1.hush: must be at least 0"),
        ("cues:\n  - prompt: one\n    cut: true\n    blend: 4\n", 4, "nothing to blend from"),
        ("cues:\n  - prompt: one\n    blend: 65\n", 3, "at most 64, not 65"),
        ("cues: [\n", 2, "not valid YAML"),
        ("[]", None, "a take is a mapping"),
        ("", None, "an empty file"),
        ("model: pocket\n", 1, "cues: is missing"),
        ("seed: 1\nCues:\n  - prompt: one\n", 2, "Cues: no such field; did you mean cues?"),
        ("prompts: [one]\n", 1, "prompts: no such field"),
        ("1\n2\n", None, "not a text or a number; prompts alone, one a line, go into a .txt file"),
        ("cues:\n  - prompt: one\n    prompt: two\n", 3, "prompt: stands twice, on line 2"),
        ("seed: 1\ncues:\n  - prompt: one\nseed: 2\n", 4, "seed: stands twice, on line 1"),
        ("length: 010\ncues:\n  - prompt: one\n", 1, "010 may be decimal or not"),
        ("seed: 0x10\ncues:\n  - prompt: one\n", 1, "0x10"),
        ("seed: 1_000\ncues:\n  - prompt: one\n", 1, "1_000"),
        ("seed: 1e3\ncues:\n  - prompt: one\n", 1, "seed: needs a whole number, not 1000.0"),
        (f"seed: {'9' * 5000}\ncues:\n  - prompt: one\n", 1, "5000 digits"),
        (f"seed: {2**63}\ncues:\n  - prompt: one\n", 1, "seed: must be less than"),
        ("length: 12.5\ncues:\n  - prompt: one\n", 1, "12.5 has no unit"),
        ("length: 1:75\ncues:\n  - prompt: one\n", 1, "end at 59"),
        ("length: 0\ncues:\n  - prompt: one\n", 1, "length: must not be 0"),
        ("length: 0:00\ncues:\n  - prompt: one\n", 1, "length: must not be 0"),
        ("length: 99999999999\ncues:\n  - prompt: one\n", 1, "beyond latent 10000000"),
        ("length: 9999h\ncues:\n  - prompt: one\n", 1, "longer than 31 days"),
        ("length: yes\ncues:\n  - prompt: one\n", 1, "length: needs a whole number of latents or a time"),
        ("cues:\n  - prompt: one\n  - at: -5s\n    cut: true\n", 3, "must not be negative"),
        ("cues:\n  - prompt: one\n    cut: maybe\n", 3, "needs true or false, not 'maybe'"),
        ("cues:\n  - prompt:\n", 2, "nothing stands where a text is wanted"),
        ("cues:\n  - prompt: null\n", 2, "null stands where a text is wanted"),
        ("cues:\n  - prompt: '  '\n", 2, "a prompt must not be empty"),
        ("cues:\n  - prompt: {a: b}\n", 2, "needs a text, not a mapping"),
        ("cues:\n  - prompt: one\n    set: none\n", 3, "set: needs fields with values"),
        (f"cues:\n  - prompt: {'x' * 4001}\n", 2, "4001 characters is too long; shorten it to 4000"),
        (f"cues:\n  - prompt: {chr(0xFDFA) * 400}\n", 2, "read as 7200 characters is too long; shorten it to 4000"),
        ('cues:\n  - prompt: "\\ud83d"\n', 2, "half a character"),
        ("cues:\n  - prompt: !!python/object/apply:os.system [ls]\n", 2, "!!python/object/apply:os.system"),
        ("cues:\n  - prompt: !!binary aGk=\n", 2, "the tag !!binary"),
        ("cues: &c\n  - prompt: one\n  - *c\n", 1, "an alias stands inside what it stands for"),
        ("cues:\n  - prompt: one\n---\ncues:\n  - prompt: two\n", 4, "a second document"),
        ("cues:\n\t- prompt: one\n", 2, "a tab indents"),
        ("? [a]\n: 1\n", 1, "a key is one word"),
        ("<<: 3\ncues:\n  - prompt: one\n", 1, "merges mappings"),
        ("cues:\n  - prompt: one\n    at: *nowhere\n", 3, "undefined alias"),
        ("cues:\n  - prompt: a\x07b\n", 2, "U+0007"),
        ("cues:\n  - prompt: one\nrecord: {torch: 2.13}\n", 3, "record.torch"),
        ("[" * 3000, None, "nested too deeply"),
    ],
)
def test_a_wrong_take_is_refused_with_its_line_and_field(
    text: str, line: int | None, says: str, tmp_path: Path
) -> None:
    message = refusal(text, tmp_path / "t.yaml")
    assert says in message
    if line is not None:
        assert message.startswith(f"t.yaml:{line}:")


@pytest.mark.parametrize(
    ("written", "latents"),
    [
        ("1:30", 360),
        ("'1:30'", 360),
        ("90s", 360),
        ("1.5min", 360),
        ("1.5m", 360),
        ("0:01:30", 360),
        ("90000ms", 360),
        ("1h", 14400),
        ("10", 10),
        ("+10", 10),
        ("1:30.5", 362),
        ("12 s", 48),
    ],
)
def test_lengths_are_decimal_latents_or_times(written: str, latents: int) -> None:
    take = parse(f"length: {written}\ncues:\n  - prompt: one\n", "t.yaml")
    assert take.chunks(TimeGrid(1, 1), fps=16) == latents
    assert parse(take.dumped(), "again") == take


@pytest.mark.parametrize(
    "prompt",
    [
        "no",
        "yes",
        "on",
        "off",
        "true",
        "010",
        "1:30",
        "2026",
        "2026-01-01",
        "1e3",
        ".inf",
        "0x10",
        "<<",
        "=",
        "a: b",
        "赤いボール",
        "🔴 😀",
        "a\u2028b",
        "a\u0085b",
        "a\nb",
        " a ",
        "#x",
        "- x",
        "'",
        '"',
        "\\",
        "%",
        "@",
        "`x",
        "a\tb\r\nc",
    ],
)
def test_a_prompt_is_text_whatever_it_looks_like(prompt: str) -> None:
    take = Take(cues=[CueLine(prompt=prompt)])
    assert parse(take.dumped(), "t.yaml") == take
    assert parse(json.dumps({"cues": [{"prompt": prompt}]}), "t.yaml") == take  # JSON is YAML, with surrogate pairs


@pytest.mark.parametrize("prompt", ["no", "010", "1:30", "2026-01-01", "1e3", "off", "0x10"])
def test_a_prompt_without_quotes_is_read_as_written(prompt: str) -> None:
    assert parse(f"cues:\n  - prompt: {prompt}\n", "t.yaml").cues[0].prompt == prompt


def test_anchors_aliases_and_merges_mean_what_they_do_in_yaml() -> None:
    text = "cues:\n  - &first {prompt: one, blend: 2}\n  - {<<: *first, at: 3, prompt: two}\n  - {at: 6, <<: *first}\n"
    cues = parse(text, "t.yaml").cues
    assert [(cue.at, cue.prompt, cue.blend) for cue in cues] == [(0, "one", 2), (3, "two", 2), (6, "one", 2)]


def test_aliases_that_repeat_too_many_values_are_refused(tmp_path: Path) -> None:
    levels = "".join(f"  l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 9))
    message = refusal(f"cues:\n  - prompt: one\nrecord:\n  l0: &l0 [x]\n{levels}", tmp_path / "t.yaml")
    assert "aliases repeat more than" in message
    some = "cues:\n  - prompt: one\nrecord:\n  a: &a [x]\n  b: [*a, *a]\n"
    assert "record.a" in refusal(some, tmp_path / "t.yaml")  # the values of a record are not nested


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".YML", ".json", ".JSON", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_take_is_read_in_every_encoding_with_a_mark(suffix: str, encoding: str, end: str, tmp_path: Path) -> None:
    text = json.dumps({"cues": [{"prompt": "über 赤い 😀"}]}, indent=1, ensure_ascii=False)
    if suffix.lower() != ".json":
        text = "# a comment\ncues:\n  - prompt: über 赤い 😀\n"
    assert prompts(tmp_path / f"t{suffix}", text.replace("\n", end).encode(encoding)) == [["über 赤い 😀"]]


@pytest.mark.parametrize("suffix", [".jsonl", ".JSONL", ".ndjson", ".txt", ".TXT"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n \t\r\n"])
def test_stories_are_read_in_every_encoding_and_line_ending(
    suffix: str, encoding: str, end: str, tmp_path: Path
) -> None:
    if suffix.lower() == ".txt":
        text, expected = f"über{end}赤い{end}", [["über", "赤い"]]
    else:
        text, expected = (
            end.join(f'{{"prompts": ["{p}", "two"]}}' for p in ("über", "赤い")),
            [["über", "two"], ["赤い", "two"]],
        )
    assert prompts(tmp_path / f"t{suffix}", text.encode(encoding)) == expected


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c"])
def test_line_separators_inside_a_json_text_do_not_split_the_line(separator: str, tmp_path: Path) -> None:
    if separator.isprintable() or ord(separator) > 0x7F:
        raw = f'{{"prompts": ["one{separator}half", "two"]}}\n{STORY}\n'
        assert prompts(tmp_path / "t.jsonl", raw) == [[f"one{separator}half", "two"], ["one", "two"]]
        assert prompts(tmp_path / "t.yaml", f"cues:\n- prompt: one{separator}half\n  at: 0\n") == [
            [f"one{separator}half"]
        ]
    assert prompts(tmp_path / "t.txt", f"one{separator}two\n") == [["one", "two"]]


def test_longlive_jsonl_and_plain_text_become_takes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"prompts": ["one", "two"]}) + "\n")
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    for name in ("a.jsonl", "a.txt"):
        take = load(tmp_path / name)
        assert [(e.at, e.prompt) for e in take.cues] == [(0, "one"), (40, "two")]
        assert [at for at, _ in take.landing(TimeGrid(3, 3), 16)] == [0, 42]
    assert load(tmp_path / "a.txt", switch_at=12).length == 24


@pytest.mark.parametrize("key", ["prompts", "prompts_list"])
def test_every_story_of_a_file_is_read(key: str, tmp_path: Path) -> None:
    path = tmp_path / "interactive_example.jsonl"
    path.write_text("".join(json.dumps({key: [f"{i}", "b"]}) + "\n" for i in range(1, 12)))
    file = read_take_file(path)
    assert [take.cues[0].prompt for take in file.takes] == [str(i) for i in range(1, 12)]
    first, notes = file.story(None)
    assert first.cues[0].prompt == "1"
    assert notes == [
        "interactive_example.jsonl holds 11 stories; this is the first, --story 2 or --story all gives others"
    ]
    assert file.story(11)[0].cues[0].prompt == "11"
    assert file.story(11)[1] == []
    for number in (0, 12):
        with pytest.raises(TakeError, match=f"holds stories 1 to 11, not story {number}"):
            file.story(number)


def test_stories_may_be_one_json_value_over_several_lines(tmp_path: Path) -> None:
    for value, stories in (
        ({"prompts": ["a"]}, [["a"]]),
        ([{"prompts": ["a"]}, {"prompts_list": ["b"]}], [["a"], ["b"]]),
    ):
        for name in ("t.json", "t.jsonl"):
            assert prompts(tmp_path / name, json.dumps(value, indent=2)) == stories


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"prompts": ["a", ]}', "t.jsonl:1:19: not valid JSON (a comma before ]; leave it out)"),
        ("\n" + STORY + '\n{"prompts": ["a"],}', "t.jsonl:3:19: not valid JSON (a comma before }"),
        ("# comment\n" + STORY, "t.jsonl:1:1: not valid JSON (a comment"),
        ("// comment\n" + STORY, "a comment"),
        ("{'prompts': ['a']}", 'stands where " is wanted'),
        ('{"prompts": ["a"', "it ends in the middle"),
        (STORY + STORY, "more follows what should be the end"),
        ('{"prompts": ["a"], "prompts": ["b"]}', "'prompts' stands twice"),
        ('{"prompts": ["a"], "prompts_list": ["b"]}', "leave one of them out"),
        ('{"promts": ["a"]}', "'promts' stands there; did you mean prompts?"),
        ("{}", "prompts: is missing"),
        ('{"prompts": "a"}', "needs a list of prompts in brackets"),
        ('{"prompts": []}', "not an empty list"),
        ('{"prompts": null}', "not null"),
        ('{"prompts": [["a"]]}', "number 1 is a list, not a text"),
        ('{"prompts": ["a", 3]}', "number 2 is the value 3, not a text"),
        ('{"prompts": ["a", " "]}', "number 2: a prompt must not be empty"),
        ('{"prompts": ["a", "\\u200b"]}', "number 2: a prompt must not be empty"),
        ('{"prompts": ["\\ud800"]}', "t.jsonl:1: half a character"),
        ('{"prompts": ["\\u0000"]}', "a control character (U+0000)"),
        (json.dumps({"prompts": ["x" * (MOST_CHARACTERS + 1)]}), "4001 characters is too long; shorten it to 4000"),
        ('{"prompts": ["a"], "n": NaN}', "NaN is no number in JSON"),
        ('{"prompts": ["a"], "n": -Infinity}', "-Infinity is no number"),
        ('{"prompts": ["a"], "n": 1e999}', "too large"),
        ('{"prompts": ["a"], "n": ' + "9" * 5000 + "}", "5000 digits is too large"),
        ('["a"]', "not a list"),
        ("3", "not the value 3"),
        ('"a"', "not a text"),
        ("[" * 100_000, "nested too deeply"),
        ('{"type": "take", "version": 2}', "is the journal of a take"),
        ('{"cues": []}', "save it as .json or .yaml"),
        ("", "holds no line"),
    ],
)
def test_a_wrong_line_of_json_is_refused_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    assert says in refusal(text, tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no prompt"),
        ("# only a comment\n", "holds no prompt"),
        (STORY, "t.txt:1: is JSON, not a prompt; give the file the suffix .jsonl"),
        ('["one", "two"]', "t.txt:1: is JSON, not a prompt"),
        ('[\n  "one"\n]', "t.txt:1: is JSON, not a prompt"),
        ("one\n" * (MOST_CUES + 1), "100001 prompts of 40 latents are too long a take"),
        (GOOD, "give the file the suffix .yaml"),
        ("one\n" + "x" * 4001, "t.txt:2: a prompt of 4001 characters is too long"),
        ("one\na\x1b[31mb", "t.txt:2: character 2 of the prompt is a control character (U+001B)"),
    ],
)
def test_a_wrong_text_is_refused_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    assert says in refusal(text, tmp_path / "t.txt")


@pytest.mark.parametrize("suffix", [".yaml", ".txt", ".jsonl", ".json"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"one\ncaf\xe9\n", "2:4: byte 0xE9 is not UTF-8; save the file as UTF-8"),
        (b"one\ntwo\0\0", "2:4: a NUL character"),
        ("one".encode("utf-16-le"), "UTF-16 without a byte-order mark"),
        (b"\xff\xfeo\0\x00\xd8", "1:2: byte 0x00 is not UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG picture, not a take"),
        (b"\0\0\0\x20ftypisom", "is a video (MP4)"),
        (b"PK\x03\x04", "zip archive"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "is a WAV, WebP or AVI file"),
        (b"GGUF\x03\0\0\0", "is GGUF weights"),
        (b'\x88\x01\0\0\0\0\0\0{"__metadata__":{', "is safetensors weights"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"x" * ((16 << 20) + 1), "larger than 16 MB"),
    ],
)
def test_a_file_that_is_not_text_is_refused_with_the_name_of_its_format(
    suffix: str, data: bytes, says: str, tmp_path: Path
) -> None:
    assert says in refusal(data, tmp_path / f"t{suffix}")


@pytest.mark.parametrize("prompt", ["Riffs of a guitar by night", "GIF87 in neon", "ID3 on a chip", "GGUF on a wall"])
def test_a_prompt_that_begins_as_a_format_is_a_prompt(prompt: str, tmp_path: Path) -> None:
    assert prompts(tmp_path / "t.txt", f"{prompt}\na red ball\n") == [[prompt, "a red ball"]]


def test_a_brace_behind_eight_characters_does_not_make_weights_of_a_take(tmp_path: Path) -> None:
    assert prompts(tmp_path / "t.yaml", 'cues: [ {"prompt": "a red ball"} ]\n') == [["a red ball"]]
    assert prompts(tmp_path / "t.json", f'[\r\n{" " * 5}{{"prompts": ["one"]}}]') == [["one"]]


def test_unused_parts_of_a_file_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompts": ["a"], "id": 3}')
    assert read_take_file(path).notes == ["t.jsonl:1: id is not used; only the prompts are"]
    path = tmp_path / "t.txt"
    path.write_text("# a title\none")
    assert read_take_file(path).notes == ["t.txt: a line that begins with # is left out as a comment"]


def test_cues_without_effect_are_noted() -> None:
    cues = "cues:\n  - prompt: one\n  - {at: 99s, prompt: two}\n  - {at: 4, prompt: three}\n  - {at: 5, prompt: four}\n"
    late, replaced = notes_on(parse(f"length: 6s\n{cues}", "t.yaml"), POCKET)
    assert late == "the cue at 99s is left out: the take is 6s long and ends before latent 396"
    assert replaced.startswith("the prompt at 4 is not seen: the one at 5 lands on the same chunk")
    border = parse("length: 23\ncues:\n  - prompt: one\n  - {at: 22, cut: true}\n", "t.yaml")
    assert "ends before latent 24" in notes_on(border, POCKET)[0]  # of 8 chunks none begins after latent 21
    assert notes_on(parse("length: 6s\ncues:\n  - {at: 3s, prompt: two}\n  - prompt: one\n", "t.yaml"), POCKET) == []


@pytest.mark.parametrize(
    ("size", "says"), [("32000x32000", "at most 64 times"), ("2080x2048", "too large"), ("1x1", "32x32")]
)
def test_a_size_that_the_model_cannot_draw_is_refused_before_it_is_drawn(size: str, says: str) -> None:
    take = Take(size=size, cues=[CueLine(prompt="one")])
    with pytest.raises(UserError, match=says):
        notes_on(take, POCKET)


def test_sound_is_refused_for_a_model_that_draws_no_avatar() -> None:
    take = parse("cues:\n  - prompt: a red ball\nsound: a.wav\n", "t.yaml")
    with pytest.raises(TakeError, match=r"sound: a.wav is for an avatar, and pocket is none"):
        notes_on(take, POCKET)
    assert notes_on(take, AVATAR) == []


@given(st.binary(max_size=120), st.sampled_from([".yaml", ".json", ".jsonl", ".txt"]), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, inside: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(b'{"cues": [{"prompt": "' + data if inside else data)
    try:
        read_take_file(path)
    except UserError as e:
        assert "\n" not in str(e)  # noqa: PT017


WORDS = [
    "cues",
    "prompt",
    "at",
    "length",
    "- ",
    ": ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    "&a",
    "*a",
    "<<",
    "!!",
    "'",
    '"',
    "|",
]


@given(st.lists(st.sampled_from([*WORDS, ">", "0", "010", "1:30", "no", "~", "\t", "#", "---", "\ud800", "é", ","])))
@settings(max_examples=500, deadline=None)
def test_any_yaml_is_read_or_refused_in_one_line(pieces: list[str]) -> None:
    for text in ("".join(pieces), "cues:\n  - " + "".join(pieces)):
        try:
            parse(text, "t.yaml")
        except TakeError as e:
            assert "\n" not in str(e)  # noqa: PT017


PROMPT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r\x85"), min_size=1).filter(
    lambda text: any(c.isalnum() for c in text) and not set(text) & set("()（）")  # which are refused or emphasise
)
DIGEST = st.text("0123456789aeEfnoruyxX_+-.~", min_size=1, max_size=16)
CUE = st.fixed_dictionaries(
    {"at": st.integers(1, 10**7) | st.sampled_from(["3s", "1:30", "2min", "500ms"]), "prompt": PROMPT},
    optional={"seed": st.integers(0, 2**63 - 1), "blend": st.integers(1, 64), "landed": st.integers(0, 10**9)},
)


@given(
    PROMPT,
    st.lists(CUE, max_size=4),
    st.dictionaries(st.sampled_from(["torch", "threads"]), PROMPT | DIGEST | st.integers(0, 99)),
)
@settings(max_examples=300, deadline=None)
def test_a_take_that_is_written_and_read_is_equal(
    first: str, cues: list[dict[str, object]], record: dict[str, object]
) -> None:
    take = Take.model_validate({"cues": [{"prompt": first}, *cues], "record": record or None})
    assert parse(take.dumped(), "t.yaml") == take
    assert parse(json.dumps(take.model_dump(exclude_defaults=True)), "t.yaml") == take


@pytest.mark.parametrize("digest", ["075ab3a007e1ccd8", "1234567890123456", "12e4567890123456", "0123456789012345"])
def test_a_digest_that_looks_like_a_number_is_a_text(digest: str) -> None:
    take = Take.model_validate({"cues": [{"prompt": "one"}], "record": {"weights": digest}})
    assert parse(take.dumped(), "t.yaml").record == {"weights": digest}


def test_a_digest_with_a_zero_before_it_needs_no_quotes() -> None:
    text = "cues:\n  - prompt: one\nrecord:\n  weights: 075ab3a007e1ccd8\n"  # as earlier releases wrote it
    assert parse(text, "t.yaml").record == {"weights": "075ab3a007e1ccd8"}


@given(st.lists(st.lists(PROMPT, min_size=1, max_size=4), min_size=1, max_size=4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_stories_that_are_written_and_read_are_equal(
    tmp_path_factory: pytest.TempPathFactory, stories: list[list[str]], ascii_only: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "stories.jsonl"
    lines = [json.dumps({"prompts": story}, ensure_ascii=ascii_only) for story in stories]
    path.write_bytes("\r\n".join(lines).encode())
    assert [[cue.prompt for cue in take.cues] for take in read_take_file(path).takes] == stories
