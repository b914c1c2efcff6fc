"""Report what a render measured, and show its film at a glance."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from streaming.render_files import RenderError
from streaming.take.take_file import CueLine


@dataclass
class Report:
    """Hold what a render measured."""

    chunks: int = 0
    frames: int = 0
    film_frames: int = 0  # of the whole film, with those that an earlier run had rendered
    regenerated: int = 0
    differing: list[int] = field(default_factory=list)  # first latents of chunks that came out otherwise than before
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    first_frame_s: float | None = None  # from the start of the render
    wall_s: float = 0.0
    upscaled: dict[str, str | int | float | None] | None = None  # what an upscaler did, `UpscaledPictures.facts`

    def add(self, name: str, seconds: float) -> None:
        """Add the seconds that a part of the work took."""
        self.seconds.setdefault(name, []).append(seconds)

    def notes(self) -> list[str]:
        """Return what a person should know, a line each."""
        differing = f"{len(self.differing)} regenerated chunks differ from before, first at latent "
        return [*self.warnings, *([f"{differing}{self.differing[0]}"] if self.differing else [])]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values, of the seconds their medians."""
        medians = {f"{name}_median_s": round(statistics.median(v), 5) for name, v in self.seconds.items()}
        drawn = sum(sum(v) for v in self.seconds.values())
        names = ("chunks", "frames", "film_frames", "regenerated", "differing", "warnings", "wall_s", "first_frame_s")
        return {
            **{name: getattr(self, name) for name in names},
            "fps": round(self.frames / drawn, 2) if drawn else 0.0,
            **medians,
            **({"upscale": self.upscaled} if self.upscaled else {}),
        }


def write_report(
    report: Report, record: Mapping[str, str | int], landing: Sequence[tuple[int, CueLine]], path: Path
) -> None:
    """Write a report as JSON, with the record it was made under and the cues by the latents that they landed on."""
    landed = [{"latent": first, **entry.model_dump(exclude_defaults=True)} for first, entry in landing]
    facts = {"record": dict(record), "cues": landed, **report.as_json()}
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def contact_sheet(video: Path, sheet: Path, columns: int = 8, rows: int = 4) -> None:
    """Write evenly spaced frames of a video as one picture, left to right, top to bottom.

    The suffix of `sheet` says in which format, `.png` or `.jpg`. Frames that are not shown are decoded and dropped.
    """
    with av.open(str(video)) as container:
        count = sum(packet.size > 0 for packet in container.demux(video=0))
    places = np.linspace(0, count - 1, columns * rows).round().astype(int).tolist()
    with av.open(str(video)) as container:
        shown = {i: f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(video=0)) if i in places}
    chosen = [shown[i] for i in places]
    grid = np.concatenate([np.concatenate(chosen[r * columns : (r + 1) * columns], 1) for r in range(rows)], 0)
    if not cv2.imwrite(str(sheet), grid[..., ::-1]):
        raise RenderError(f"{sheet}: cannot be written")
