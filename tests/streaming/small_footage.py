"""Read pictures and films as a small take does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import tiny_model
from numpy.typing import NDArray

from streaming.take.footage import TakeFootage

ENTRY = tiny_model().entry  # 16 frames a second, cells of 8 pixels
SIZE = (32, 32)


def footage(folder: Path) -> TakeFootage:
    """Return what reads the files of a take of SIZE in a folder."""
    return TakeFootage(ENTRY, SIZE, folder)


def shown(folder: Path, name: str, **how: object) -> NDArray[np.uint8]:
    """Return the frames [n, 32, 32, 3] with which a take begins that starts with a file, fitted by `fit`."""
    start = footage(folder).start(name, how.get("fit", "crop"), None)  # type: ignore[arg-type]
    return np.frombuffer(start.pixels, np.uint8).reshape(-1, 32, 32, 3)
