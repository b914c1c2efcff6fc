"""Keep steps as a rollout meets them, so that engines and precisions can be compared on the very same inputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from exporters.engine_modules import EngineTransformer
from exporters.rollouts import Script, roll
from exporters.step import OUTPUTS, Step
from models.checkpoints.assemble import Model
from models.sampler import predicted_x0
from models.transformer import CausalWanTransformer


@dataclass(frozen=True)
class Captured:
    """Hold one pass: its inputs, and the outputs that torch computed from them."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]

    @property
    def bytes(self) -> int:
        return sum(t.nbytes for t in (*self.inputs.values(), *self.outputs.values()))

    @property
    def sigma(self) -> float:
        return float(self.inputs["timestep"]) / 1000


class TorchRunner:
    """Run the step in torch: the reference that every other runner is compared with."""

    def __init__(self, transformer: CausalWanTransformer) -> None:
        self.dtype = transformer.dtype
        self._step = Step(transformer).eval()

    @torch.inference_mode()
    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        for name, value in zip(OUTPUTS, self._step(**inputs), strict=True):
            outputs[name].copy_(value)


ROOM = 12 << 30  # bytes that kept passes may take; a pass of a 1.3B model holds three billion


class CapturingRunner(TorchRunner):
    """Keep every `every`-th pass, and evenly fewer where these would take more than ROOM."""

    def __init__(self, transformer: CausalWanTransformer, every: int) -> None:
        super().__init__(transformer)
        self.kept: list[Captured] = []
        self._every, self._seen = every, 0

    def run(self, inputs: dict[str, Tensor], outputs: dict[str, Tensor]) -> None:
        super().run(inputs, outputs)
        if self._seen % self._every == 0:
            self.kept.append(
                Captured({n: t.clone() for n, t in inputs.items()}, {n: t.clone() for n, t in outputs.items()})
            )
            while len(self.kept) > 1 and sum(c.bytes for c in self.kept) > ROOM:
                self.kept, self._every = self.kept[::2], 2 * self._every
        self._seen += 1


def capture(model: Model, scripts: Iterable[Script], every: int) -> list[Captured]:
    """Return every `every`-th pass of these rollouts, recaches and clean passes too; fewer where memory is short."""
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer), "steps are captured from torch"
    runner = CapturingRunner(transformer, every)
    watched = replace(model, generator=model.generator.run_by(EngineTransformer(transformer, runner)))
    for script in scripts:
        for _ in roll(watched, script):
            pass
    return runner.kept


def x0_error(model: Model, captured: Captured, prediction: Tensor) -> float:
    """Return the relative error of the clean latents that a prediction stands for: ‖x0 − x0_torch‖ / ‖x0_torch‖."""
    kind, latents = model.generator.config.prediction, captured.inputs["latents"].float()
    latents = latents[:, : prediction.shape[1]]  # without a mask channel
    want = predicted_x0(latents, captured.outputs["prediction"], captured.sigma, kind)
    have = predicted_x0(latents, prediction, captured.sigma, kind)
    return float((have - want).norm() / want.norm())
