"""Imitate INT8 arithmetic in torch, to find layers that lose by it and to define what an INT8 graph must compute.

Weights: symmetric, one scale an output channel. Activations: symmetric with a calibrated scale (what a Q/DQ pair does),
or, where none is given, asymmetric over the tensor at hand (what ONNX Runtime's dynamic quantization does).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn


def weight_scale(weight: Tensor) -> Tensor:
    """Return scales [out, 1] of weights [out, in], so that the largest weight of a channel becomes 127."""
    return weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127


def quantized_weight(weight: Tensor) -> Tensor:
    """Return weights [out, in] rounded to int8 and back."""
    scale = weight_scale(weight.float())
    return ((weight.float() / scale).round().clamp(-127, 127) * scale).to(weight.dtype)


def quantized_activation(x: Tensor, scale: float | None) -> Tensor:
    """Return an activation rounded to int8 and back; without a `scale`, by its own range."""
    if scale is not None:
        return ((x.float() / scale).round().clamp(-128, 127) * scale).to(x.dtype)
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    step = (high - low).clamp(min=1e-12) / 255
    zero = (-low / step).round()
    return ((x / step).round() + zero).clamp(0, 255).sub(zero) * step


def linears(module: nn.Module) -> dict[str, nn.Linear]:
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Linear)}


@contextlib.contextmanager
def quantized(module: nn.Module, scales: Mapping[str, float | None]) -> Iterator[None]:
    """Have the linear layers named in `scales` compute as INT8 would while the block runs."""
    layers = linears(module)
    weights = {name: layers[name].weight.data for name in scales}

    def hook(scale: float | None) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
        return lambda _, inputs: (quantized_activation(inputs[0], scale),)

    hooks = [layers[name].register_forward_pre_hook(hook(scale)) for name, scale in scales.items()]
    try:
        for name in scales:
            layers[name].weight.data = quantized_weight(weights[name])
        with torch.inference_mode():
            yield
    finally:
        for handle in hooks:
            handle.remove()
        for name, weight in weights.items():
            layers[name].weight.data = weight
