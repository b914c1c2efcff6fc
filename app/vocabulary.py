"""Say which words a model with a small vocabulary understands, and what it understands of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.catalog import Entry
from models.text.prompt_reading import PromptError, PromptReading, any_prompt, read_prompt

if TYPE_CHECKING:
    from streaming.take.take_file import Take


def understands(entry: Entry) -> dict[str, list[list[str]]]:
    """Return attribute → values, each with the ways to say it, the plainest first; empty where any text goes."""
    if not _has_word_list(entry):
        return {}
    from models.pocket.world.scene import WORDING

    return {name: [[w for w in ways if w] for ways in values.values()] for name, values in WORDING.items()}


def reading(entry: Entry, prompt: str) -> PromptReading:
    """Return what a model will understand of a prompt, before its weights are loaded; PromptError for nothing."""
    if not _has_word_list(entry):
        return any_prompt(prompt)
    from models.pocket.world.scene import vocabulary

    return read_prompt(prompt, vocabulary(), entry.name)


def prompt_notes(entry: Entry, take: Take) -> list[str]:
    """Return a line for what a model does not understand of a take's prompts; PromptError if it is all."""
    notes: list[str] = []
    for cue in take.cues:
        if cue.prompt is not None:
            try:
                notes += notes_on(entry.name, reading(entry, cue.prompt))
            except PromptError as e:
                raise PromptError(f"the prompt at {cue.at}: {e}") from None
    return notes


def notes_on(model: str, read: PromptReading) -> list[str]:
    """Return what a person should know of how a model reads a prompt, a line each."""
    unknown = [
        f"{model} does not know {word!r}" + (f"; near: {', '.join(near)}" if near else "")
        for word, near in read.unknown.items()
    ]
    return [*unknown, *read.notes]


def _has_word_list(entry: Entry) -> bool:
    return (
        entry.text == "words" and entry.driving_features is None
    )  # what an avatar shows, its portrait and its voice say
