"""Read prompt files: LongLive's interactive JSON lines, a story a line, and plain text with one prompt a line.

LongLive's files hold an object a line with a list of prompts, `{"prompts": ["...", "..."]}` (2509.22622; some copies
call it `prompts_list`); its example has eleven of them. A text file is one story.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import Any

from models.cue import typed_prompt
from streaming.take.json_data import json_value
from streaming.take.text_file import LINE_END, PROMPT_END, TakeError, lines_of
from streaming.take.yaml_data import nearest

KEYS = ("prompts", "prompts_list")


@dataclass(frozen=True)
class Story:
    """Hold the prompts that follow each other in one take, and the number of their line in the file, from 1."""

    prompts: tuple[str, ...]
    line: int


def stories_of_json_lines(text: str, name: str) -> tuple[list[Story], list[str]]:
    """Return the stories of a text, one a line, and notes on its unused fields; TakeError for a faulty line."""
    stories: list[Story] = []
    notes: list[str] = []
    lines = lines_of(text, LINE_END)
    if len(lines) > 1 and (whole := _one_value(text, lines, name)) is not None:
        return stories_of_json(whole, name)
    for number, line in lines:
        _add(json_value(line, name, number), name, number, stories, notes)
    if not stories:
        raise TakeError(f'{name}: holds no line; a story is a line such as {{"prompts": ["...", "..."]}}')
    return stories, notes


def stories_of_json(value: Any, name: str) -> tuple[list[Story], list[str]]:
    """Return the stories of an object, or of a list of them, and notes on unused fields; TakeError for a faulty one."""
    stories: list[Story] = []
    notes: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        _add(item, name, 1, stories, notes)
    if not stories:
        raise TakeError(f"{name}: holds no story")
    return stories, notes


def story_of_text(text: str, name: str) -> tuple[list[Story], list[str]]:
    """Return the one story of a text with a prompt a line, and a note if it has comments (lines that begin with #).

    TakeError if it has no prompt, or is JSON or YAML.
    """
    lines = lines_of(text, PROMPT_END)
    prompts = [(number, line.strip()) for number, line in lines if not line.startswith("#")]
    if not prompts:
        raise TakeError(f"{name}: holds no prompt; write one a line")
    first_line, first = prompts[0]
    if re.match(r'\{\s*"|\[\s*["{]', first) or first in ("{", "["):
        raise TakeError(f"{name}:{first_line}: is JSON, not a prompt; give the file the suffix .jsonl, or .json")
    if any(re.fullmatch(r"cues\s*:", prompt) for _, prompt in prompts):
        raise TakeError(f"{name}: looks like a take in YAML, not like a prompt a line; give the file the suffix .yaml")
    story = Story(tuple(_prompt(prompt, f"{name}:{number}") for number, prompt in prompts), first_line)
    comments = len(lines) - len(prompts)
    some = "a line that begins with # is" if comments == 1 else f"{comments} lines that begin with # are"
    return [story], [f"{name}: {some} left out as a comment"] if comments else []


def _one_value(text: str, lines: list[tuple[int, str]], name: str) -> Any:
    """Return the value of a text that is one JSON value over several lines; None if each line is a value of its own."""
    try:
        json_value(lines[0][1], name)
    except TakeError:
        with contextlib.suppress(TakeError):
            return json_value(text, name)
    return None


def _add(value: Any, name: str, line: int, stories: list[Story], notes: list[str]) -> None:
    where = f"{name}:{line}"
    wanted = 'an object with a list of prompts, {"prompts": ["...", "..."]}'
    if not isinstance(value, dict):
        raise TakeError(f"{where}: a line is {wanted}, not {_kind(value)}")
    if value.get("type") == "take" and "version" in value:
        raise TakeError(f"{where}: is the journal of a take; render the .yaml file beside it")
    if "cues" in value:
        raise TakeError(f"{where}: a take with cues is a file of its own; save it as .json or .yaml")
    found = [key for key in KEYS if key in value]
    if len(found) == 2:
        raise TakeError(f"{where}: has prompts as well as prompts_list; leave one of them out")
    if not found:
        first = next(iter(value), None)
        there = "it is empty" if first is None else f"{first[:40]!r} stands there; {nearest(first, KEYS)}"
        raise TakeError(f"{where}: prompts: is missing ({there}); a line is {wanted}")
    prompts = value[found[0]]
    if isinstance(prompts, str):
        raise TakeError(f"{where}: {found[0]}: needs a list of prompts in brackets, not one text")
    if not isinstance(prompts, list) or not prompts:
        raise TakeError(f"{where}: {found[0]}: needs a list of prompts, not {_kind(prompts)}")
    for number, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str):
            raise TakeError(f"{where}: {found[0]}: number {number} is {_kind(prompt)}, not a text")
    texts = tuple(_prompt(p, f"{where}: {found[0]}: number {i}") for i, p in enumerate(prompts, 1))
    stories.append(Story(texts, line))
    unused = [str(key)[:40] for key in value if key not in found]
    if unused:
        notes.append(f"{where}: {', '.join(unused)} is not used; only the prompts are")


def _prompt(text: str, where: str) -> str:
    try:
        return typed_prompt(text)
    except ValueError as e:
        raise TakeError(f"{where}: {e}") from e


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"the value {str(value)[:40]}"
        case str():
            return "a text"
        case list():
            return "a list" if value else "an empty list"
    return "an object"
