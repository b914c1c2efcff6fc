"""Say how a model rolls out."""

from __future__ import annotations

from dataclasses import dataclass

from models.cache_shape import AnchorPolicy, ReferenceRule, ShotRule, StepKeys
from models.cue import OnSwitch, SinkOnSwitch, StartBy
from models.sampler import Prediction, Schedule, Solver
from models.time_grid import TimeGrid

WITHOUT_CLEAN_PASS = (OnSwitch.NONE, OnSwitch.CLEAR)  # what a prompt change can do where no pass makes keys anew


@dataclass(frozen=True)
class StrengthRange:
    """Say how strongly a model can redraw a source: below `low` hardly anything changes, above `high` it is ignored."""

    low: float
    high: float
    usual: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.usual <= self.high <= 1:
            raise ValueError(f"strengths rise from above 0 to 1, not {self.low}, {self.usual}, {self.high}")


@dataclass(frozen=True)
class RolloutConfig:
    """Hold how a model rolls out; sizes in latents."""

    chunk: int
    window: int  # visible to attention: sink, past and current chunk
    sink: int  # the first latents of a take that stay visible, 0 … window - chunk
    schedule: Schedule
    prediction: Prediction
    anchor: AnchorPolicy
    on_switch: OnSwitch = OnSwitch.RECACHE
    sink_on_switch: SinkOnSwitch = SinkOnSwitch.KEEP
    knot: int = 0  # latents denoised past the end of a chunk
    reference: ReferenceRule | None = None  # where the image stands that a take stays true to, in a model that can
    fusion: tuple[float, ...] | None = None  # weights of a held knot when it is fused; None: a falling ramp
    first_chunk: int | None = None  # length of a take's first chunk; None: as long as the others
    start_by: StartBy = StartBy.PIN  # how a take begins with an image
    start_noise: float = 1.0  # level from which the first chunk begins over a pinned image; 1: from noise alone
    strength: StrengthRange = StrengthRange(0.5, 0.9, 0.7)  # of following a source
    first_schedule: Schedule | None = None  # steps of the first chunk drawn after a take's start, a prefix or a cut
    step_keys: StepKeys | None = None  # of a model without a clean pass, whose past is what its steps wrote
    # warp of the table in which the first step over a source is looked up, the others staying as they are; None: over a
    # source all steps are lower, in the same proportions
    source_shift: float | None = None
    solver: Solver = "renoise"
    clean_pins: bool = False  # the network is given a pinned image as it is, at a timestep of its own, which is 0
    sink_average: float | None = None  # share of itself that the sink keeps when a chunk leaves; None: all, as it is
    shots: ShotRule | None = None  # how a cut goes on from the shot before; None: it drops the past
    guidance: float = 1.0  # by how much the prompt leads away from `negative_prompt`; 1: not at all, in half the time
    negative_prompt: str = ""

    @property
    def guided(self) -> bool:
        """Return whether every pass runs under the negative prompt too."""
        return self.guidance != 1

    @property
    def rows(self) -> int:
        """Return the rows of a pass for each take: its steps in a stream batch, two in a model that is guided."""
        if self.step_keys is not None and self.step_keys.batch:
            return len(self.schedule.sigmas)
        return 2 if self.guided else 1

    @property
    def latents_ahead(self) -> int:
        """Return how many latents of a source have been read beyond those that are drawn."""
        return (self.rows - 1) * self.chunk if self.step_keys is not None else 0

    @property
    def grid(self) -> TimeGrid:
        """Return how the model's chunks divide time."""
        return TimeGrid(self.chunk, self.chunk if self.first_chunk is None else self.first_chunk)

    def latents_drawn(self, first: int) -> int:
        """Return how many latents are denoised with the chunk at latent `first`: its own and its knot's."""
        return self.grid.length(first) + self.knot

    def __post_init__(self) -> None:
        if not 0 < self.start_noise <= 1:
            raise ValueError(
                f"a chunk begins over an image at a noise level above 0 and at most 1, not {self.start_noise}"
            )
        if self.step_keys is not None:
            needs_one = self.knot or self.reference or self.start_by is StartBy.PREFIX
            if self.on_switch not in WITHOUT_CLEAN_PASS or needs_one:
                raise ValueError(
                    "a model without a clean pass has no recache, flush, recall, knot, reference or prefix: "
                    "its on_switch is none or clear"
                )
            if self.step_keys.batch and (self.guided or self.first_schedule is not None):
                raise ValueError("a stream batch has the same steps for all chunks, and no guidance")
            restart = self.step_keys.restart
            if restart is not None and restart < self.window:
                raise ValueError(f"coordinates restart behind the window of {self.window} latents, not at {restart}")
        if self.solver == "unipc" and any(s.sigmas[0] >= 1 for s in (self.schedule, self.first_schedule) if s):
            raise ValueError(f"UniPC begins below the noise level 1, not at {self.schedule.sigmas[0]:g}")
        if self.sink_average is not None and (self.sink != self.chunk or not 0 <= self.sink_average <= 1):
            raise ValueError("a sink that is averaged is as long as a chunk, and keeps a share of 0 to 1 of itself")
        if self.shots is not None:
            self._check_shots(self.shots)
        if not 0 <= self.knot <= self.chunk:
            raise ValueError(f"a knot has 0 to {self.chunk} latents, not {self.knot}")
        if self.fusion is not None and (len(self.fusion) != self.knot or not all(0 <= w <= 1 for w in self.fusion)):
            raise ValueError(f"fusion needs {self.knot} weights from 0 to 1, not {self.fusion}")
        if self.reference and self.grid.first_chunk < self.knot:
            raise ValueError(
                f"a first chunk that starts from a reference has at least the knot's {self.knot} latents, "
                f"not {self.grid.first_chunk}"
            )

    def _check_shots(self, rule: ShotRule) -> None:
        if rule.fresh and not (rule.sink and self.sink):
            raise ValueError("a shot that begins afresh has a sink, and so has the take")
        own = min(self.sink, self.chunk) if rule.sink else 0
        if self.window < self.sink + own + self.chunk:
            raise ValueError(
                f"a window of {self.window} latents has no room for sinks of {self.sink} and {own} latents and a chunk "
                f"of {self.chunk}"
            )
