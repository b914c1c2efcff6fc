"""Run the command line with an avatar: the one that ships, or a tiny one with random weights that needs no files."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conftest import tiny_avatar

from app.cli import main
from app.model_library import ModelLibrary
from models import catalog
from models.checkpoints.assemble import ASSETS, Model, missing_files

NAME = "pocket-avatar"
_load = ModelLibrary.load


async def load(library: ModelLibrary, name: str) -> Model:
    """Return the tiny avatar, or any other model as usual."""
    if name != NAME:
        return await _load(library, name)
    model = tiny_avatar()
    return replace(model, entry=catalog.ENTRIES[NAME])


def trained() -> bool:
    """Return whether the weights of the avatar that ships are here."""
    return not missing_files(catalog.AVATAR, ASSETS)


def tiny() -> None:
    """Put the tiny avatar into the catalog in place of the one that ships."""
    catalog.ENTRIES[NAME] = replace(tiny_avatar().entry, name=NAME)
    ModelLibrary.load = load  # type: ignore[method-assign]


if __name__ == "__main__":
    if trained() and "--tiny" not in sys.argv:
        catalog.ENTRIES[NAME] = catalog.AVATAR
    else:
        tiny()
    sys.argv = [a for a in sys.argv if a != "--tiny"]
    main()
