"""List the words that a model with a small vocabulary understands, and report its reading of prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.catalog import Entry
from models.text.prompt_reading import PromptError, PromptReading, any_prompt, read_prompt

if TYPE_CHECKING:
    from streaming.take.take_file import Take


def understands(entry: Entry) -> dict[str, list[list[str]]]:
    """Return attribute → values, each with its wordings, the plainest first; empty for a model that reads any text."""
    if not _has_word_list(entry):
        return {}
    from models.pocket.world.scene import WORDING

    return {name: [[w for w in ways if w] for ways in values.values()] for name, values in WORDING.items()}


def reading(entry: Entry, prompt: str) -> PromptReading:
    """Return a model's reading of a prompt, without its weights; raise PromptError if it understands nothing."""
    if not _has_word_list(entry):
        return any_prompt(prompt)
    from models.pocket.world.scene import vocabulary

    return read_prompt(prompt, vocabulary(), entry.name)


def prompt_notes(entry: Entry, take: Take) -> list[str]:
    """Return notes on words of a take's prompts that a model ignores; raise PromptError if it ignores a prompt."""
    notes: list[str] = []
    for cue in take.cues:
        if cue.prompt is not None:
            try:
                notes += notes_on(entry.name, reading(entry, cue.prompt))
            except PromptError as e:
                raise PromptError(f"the prompt at {cue.at}: {e}") from None
    return notes


def notes_on(model: str, read: PromptReading) -> list[str]:
    """Return the notes of a model's reading of a prompt, a line each, for a person."""
    unknown = [
        f"{model} does not know {word!r}" + (f"; near: {', '.join(near)}" if near else "")
        for word, near in read.unknown.items()
    ]
    return [*unknown, *read.notes]


def _has_word_list(entry: Entry) -> bool:
    # an avatar's picture depends on its portrait and voice alone
    return entry.text == "words" and entry.driving_features is None
