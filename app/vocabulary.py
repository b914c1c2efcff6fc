"""List the words that a model with a small vocabulary understands."""

from __future__ import annotations

from models.catalog import Entry


def understands(entry: Entry) -> dict[str, list[list[str]]]:
    """Return attribute → values, each with the ways to say it, the plainest first; empty where any text goes."""
    if (
        entry.text != "words" or entry.driving_features is not None
    ):  # what an avatar shows, its portrait and its voice say
        return {}
    from models.pocket.world.scene import WORDING

    return {name: [[w for w in ways if w] for ways in values.values()] for name, values in WORDING.items()}
