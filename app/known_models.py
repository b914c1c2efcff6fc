"""Find models by name, those that were added on this machine among them."""

from __future__ import annotations

from models import catalog
from models.checkpoints.added import register
from models.checkpoints.folders import models_folder


def find(name: str) -> catalog.Entry:
    """Return the entry of that name; UnknownModelError if there is none, CheckpointError for a damaged addition."""
    register(models_folder())
    return catalog.find(name)
