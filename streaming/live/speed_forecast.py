"""Predict how much of a device's time a session will take, from what was measured on this machine.

The figure is a real-time factor: seconds of device time for a second of film. Above 1, films are slower than real time.
"""

from __future__ import annotations

import math

from models.catalog import ENTRIES, Entry
from streaming.chunk_cost import flops_a_chunk, relative_cost, text_length
from streaming.measured_speeds import MeasuredSpeeds, Size

UNKNOWN = 0.4  # the least that is assumed of a model that was not measured here, at its own size
MOST_OF_A_CPU = 2e12  # floating-point operations a second that no CPU exceeds in a model; for one never measured


class SpeedForecast:
    """Know the real-time factors of models by the size of their pictures, and predict those that are not known."""

    def __init__(self, speeds: MeasuredSpeeds | None = None, device: str = "cpu") -> None:
        """Begin with what `speeds` has of this type of device; without it nothing is known."""
        self._speeds, self._device = speeds, device
        self._measured: dict[tuple[str, Size], float] = {}  # in this run, which is newer

    def measured(self, entry: Entry, size: Size, factor: float) -> None:
        """Use a real-time factor that was measured from now on."""
        self._measured[entry.name, size] = factor

    def factor(self, entry: Entry, size: Size) -> float:
        """Return the real-time factor that a session of the model is expected to have with pictures of this size.

        A size that was not measured is computed from the nearest one that was, by the operations of both.
        """
        known = self._known()
        sizes = {s: factor for (name, s), factor in known.items() if name == entry.name}
        if not sizes:
            return self._of_unknown(entry, known) * relative_cost(entry, size)
        if size in sizes:
            return sizes[size]
        nearest = min(sizes, key=lambda s: abs(math.log(s[0] * s[1] / (size[0] * size[1]))))
        return sizes[nearest] * relative_cost(entry, size) / relative_cost(entry, nearest)

    def _known(self) -> dict[tuple[str, Size], float]:
        known: dict[tuple[str, Size], float] = {}
        for (name, size), speed in (self._speeds.on(self._device) if self._speeds is not None else {}).items():
            if (entry := ENTRIES.get(name)) is not None:
                known[name, size or entry.size] = entry.fps / speed.fps
        return known | self._measured

    def _of_unknown(self, entry: Entry, known: dict[tuple[str, Size], float]) -> float:
        """Return what to expect of a model at its own size of which nothing was measured.

        On a CPU the operations a second of other models tell something; a small model leaves a GPU idle.
        """
        if self._device != "cpu":
            return UNKNOWN
        rates = [
            flops_a_chunk(other, *size, text_length(other)) / (factor * other.rollout.grid.frames / other.fps)
            for (name, size), factor in known.items()
            if (other := ENTRIES.get(name)) is not None
        ]
        seconds = flops_a_chunk(entry, *entry.size, text_length(entry)) / max(rates, default=MOST_OF_A_CPU)
        return max(UNKNOWN, seconds * entry.fps / entry.rollout.grid.frames)
