"""Find the layers that INT8 harms most: quantize all but one, and see how much better x0 becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from exporters.capture import Captured, x0_error
from exporters.int8.simulated import linears, quantized
from exporters.step import Step
from models.checkpoints.assemble import Model
from models.transformer import CausalWanTransformer

BUDGET = 0.02  # share of the quantizable weights that may stay in float, so that the file stays small
PASSES = 6  # of those captured, evenly, that are run again without each layer: a layer is worth much the same in all
GAIN = 0.03  # of the whole error that a layer must be worth to stay in float


@dataclass(frozen=True)
class Sensitivity:
    """Hold the relative x0 error with every layer in INT8, and without each one; `kept` stay in float."""

    whole: float
    without: dict[str, float]
    kept: tuple[str, ...]
    left: float  # the error once they do


def measure(
    model: Model,
    scales: Mapping[str, float | None],
    captured: Sequence[Captured],
    say: Callable[[str], None] = lambda text: None,
) -> Sensitivity:
    """Leave each layer out of INT8 in turn; keep in float those worth most per weight, within the budget."""
    transformer = model.generator.transformer
    assert isinstance(transformer, CausalWanTransformer)
    step, layers = Step(transformer).eval(), linears(transformer)
    noisy = [c for c in captured if c.sigma > 0]
    some = [noisy[i * len(noisy) // PASSES] for i in range(PASSES)] if len(noisy) > PASSES else noisy

    def error(names: Sequence[str]) -> float:
        with quantized(transformer, {n: scales[n] for n in names}):
            found = [x0_error(model, c, step(**c.inputs)[0]) for c in some]
        return sum(found) / len(found)

    whole = error(list(scales))
    without = {}
    for number, name in enumerate(scales, 1):
        without[name] = error([n for n in scales if n != name])
        say(f"layers measured: {number} of {len(scales)}")
    size = {n: layers[n].weight.numel() for n in scales}
    room, kept = BUDGET * sum(size.values()), []
    for name in sorted(scales, key=lambda n: (without[n] - whole) / size[n]):
        if whole - without[name] >= GAIN * whole and size[name] <= room:
            kept.append(name)
            room -= size[name]
    left = error([n for n in scales if n not in kept]) if kept else whole
    return Sensitivity(whole, without, tuple(kept), left)
