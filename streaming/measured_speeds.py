"""Store how fast models were on this machine, in a file in the models' folder."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, RootModel, ValidationError


class Speed(BaseModel):
    """Hold one measurement: frames a second end to end, what measured it, and the date (ISO 8601)."""

    fps: float
    by: Literal["bench", "session"]
    on: str


class _File(RootModel[dict[str, Speed]]):
    """Map `MODEL DEVICE` to the newest measurement."""


class MeasuredSpeeds:
    """Read and write the newest measurement of every model on every type of device."""

    def __init__(self, models: Path) -> None:
        """Use the file `speeds.json` in the folder `models`, which need not exist yet."""
        self._path = models / "speeds.json"

    def of(self, model: str, device: str) -> Speed | None:
        """Return the newest measurement, or None if the model was not measured here."""
        return self._read().get(f"{model} {device}")

    def add(self, model: str, device: str, fps: float, by: Literal["bench", "session"]) -> None:
        """Store a measurement. A file that cannot be written is left as it is, and nothing is raised."""
        known = self._read() | {f"{model} {device}": Speed(fps=round(fps, 1), by=by, on=str(date.today()))}
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
            return _File.model_validate_json(self._path.read_bytes()).root
        except (OSError, ValidationError):
            return {}
