"""Find scales of activations in the passes of the model's own rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from exporters.capture import Captured
from exporters.int8.simulated import linears, quantized_activation
from exporters.rollouts import Script, script
from exporters.step import Step
from models.transformer import CausalWanTransformer

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # of the largest value: clipping the rarest may cost less than a coarse step
KEPT = 16_384  # values of a layer's input that are kept for the choice of its scale


def scripts(chunks: int = 14, takes: int = 4) -> list[Script]:
    """Return takes long enough to fill the window, each with two switches at other places."""
    return [script(1000 + i, chunks, (3 + i % 3, 9 + i % 2)) for i in range(takes)]


@torch.inference_mode()
def activation_scales(transformer: CausalWanTransformer, captured: Sequence[Captured]) -> dict[str, float]:
    """Return, for every linear layer of a step, the scale of its input whose rounding and clipping err least."""
    largest: dict[str, float] = {}
    values: dict[str, list[Tensor]] = {}
    make = torch.Generator().manual_seed(0)
    share = max(1, KEPT // max(1, len(captured)))

    def hook(name: str) -> Callable[[object, tuple[Tensor, ...]], None]:
        def see(_: object, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].detach().float().flatten()
            largest[name] = max(largest.get(name, 0.0), float(x.abs().max()))
            values.setdefault(name, []).append(x[torch.randint(len(x), (share,), generator=make)])

        return see

    hooks = [layer.register_forward_pre_hook(hook(name)) for name, layer in linears(transformer).items()]
    try:
        step = Step(transformer).eval()
        for one in captured:
            step(**one.inputs)
    finally:
        for handle in hooks:
            handle.remove()
    return {name: _best(torch.cat(values[name]), top) for name, top in largest.items()}


def _best(x: Tensor, largest: float) -> float:
    tried = [max(largest, 1e-6) * share / 127 for share in SHARES]
    return min(tried, key=lambda scale: float((quantized_activation(x, scale) - x).square().sum()))
