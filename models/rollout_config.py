"""How a model rolls out."""

from __future__ import annotations

from dataclasses import dataclass

from models.cache_shape import AnchorPolicy, ReferenceRule
from models.cue import OnSwitch, SinkOnSwitch
from models.sampler import Prediction, Schedule
from models.time_grid import TimeGrid


@dataclass(frozen=True)
class RolloutConfig:
    """How a model rolls out; sizes in latents."""

    chunk: int
    window: int
    sink: int
    schedule: Schedule
    prediction: Prediction
    anchor: AnchorPolicy
    on_switch: OnSwitch = OnSwitch.RECACHE
    sink_on_switch: SinkOnSwitch = SinkOnSwitch.KEEP
    knot: int = 0  # latents denoised past the end of a chunk
    reference: ReferenceRule | None = None  # of a model that stays true to an image: where that stands
    fusion: tuple[float, ...] | None = None  # weights of a held knot when it is tied in; None: a falling ramp

    @property
    def grid(self) -> TimeGrid:
        """Return how the model's chunks divide time."""
        return TimeGrid(self.chunk, self.chunk)

    def latents_drawn(self, first: int) -> int:
        """Return how many latents are denoised with the chunk at latent `first`: its own and its knot's."""
        return self.grid.length(first) + self.knot

    def __post_init__(self) -> None:
        if not 0 <= self.knot <= self.chunk:
            raise ValueError(f"a knot has 0 to {self.chunk} latents, not {self.knot}")
        if self.fusion is not None and (len(self.fusion) != self.knot or not all(0 <= w <= 1 for w in self.fusion)):
            raise ValueError(f"fusion needs {self.knot} weights from 0 to 1, not {self.fusion}")
