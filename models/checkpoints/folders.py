"""Find the folders of downloaded models and of exported engines on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def models_folder() -> Path:
    """Return the folder of downloaded models: LONGTAKE_MODELS, or a folder in the user's data home."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(os.environ.get("LONGTAKE_MODELS") or Path(home) / "longtake" / "models")


def engines_folder() -> Path:
    """Return the folder of exported engines, beside the models."""
    return models_folder().parent / "engines"
