"""Store how fast models were on this machine, in a file in the models' folder."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, RootModel

MOST_SIZES = 16  # of one model on one type of device, apart from its own size

Size = tuple[int, int]  # width and height in pixels
_KEY = re.compile(r"(\S+) (\S+)(?: ([1-9]\d{0,4})x([1-9]\d{0,4}))?")


class Speed(BaseModel):
    """Hold one measurement: frames a second end to end, what measured it, and the date (ISO 8601)."""

    fps: float = Field(gt=0)
    by: Literal["bench", "session"]
    on: str


class _File(RootModel[dict[str, Speed]]):
    """Map `MODEL DEVICE`, or `MODEL DEVICE WIDTHxHEIGHT` where that is not the model's own size, to its measurement."""


class MeasuredSpeeds:
    """Read and write the newest measurement of every model on every type of device, at every size of its pictures."""

    def __init__(self, models: Path) -> None:
        """Use the file `speeds.json` in the folder `models`, which need not exist yet."""
        self._path = models / "speeds.json"

    def of(self, model: str, device: str) -> Speed | None:
        """Return the newest measurement at the model's own size, or None if it was not measured here."""
        return self._read().get(f"{model} {device}")

    def on(self, device: str) -> dict[tuple[str, Size | None], Speed]:
        """Return all measurements on a type of device by model and size; None stands for the model's own size."""
        found: dict[tuple[str, Size | None], Speed] = {}
        for key, speed in self._read().items():
            model, where, size = _parsed(key)
            if where == device:
                found[model, size] = speed
        return found

    def add(
        self, model: str, device: str, fps: float, by: Literal["bench", "session"], size: Size | None = None
    ) -> None:
        """Store a measurement at a size, or at the model's own without one.

        A file that cannot be written is left as it is, and nothing is raised.
        """
        own, shown = f"{model} {device}", "" if size is None else f" {size[0]}x{size[1]}"
        known = self._read()
        known.pop(own + shown, None)  # the newest stands last
        known[own + shown] = Speed(fps=float(f"{fps:.3g}"), by=by, on=str(date.today()))
        for key in [key for key in known if key.startswith(f"{own} ")][:-MOST_SIZES]:
            del known[key]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_text(_File(known).model_dump_json(indent=1), encoding="utf-8")
            os.replace(partial, self._path)
        except OSError:
            return

    def _read(self) -> dict[str, Speed]:
        """Read the file; one that is missing or damaged counts as empty."""
        try:
            speeds = _File.model_validate_json(self._path.read_bytes()).root
            for key in speeds:
                _parsed(key)
        except (OSError, ValueError):  # pydantic's errors are among these
            return {}
        return speeds


def _parsed(key: str) -> tuple[str, str, Size | None]:
    """Return model, type of device and size of a key; ValueError if it is none."""
    found = _KEY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is not MODEL DEVICE or MODEL DEVICE WIDTHxHEIGHT")
    model, device, width, height = found.groups()
    return model, device, (int(width), int(height)) if width else None
