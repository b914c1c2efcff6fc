"""Measure chunks whose weights or products are of fewer bits: time and error decide whether they are worth it.

All but the first way are torchao's.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from app.device_check.rollouts import Running, built, first_latents, network_of
from app.device_check.sizes import Sizes
from app.device_check.timing import Figures, relative_error, tried
from models.float8_weights import keep_in_float8

KEPT = "kept in float8"


def quantised(sizes: Sizes, device: torch.device) -> Figures:
    """Time the main model with the products of its blocks quantised, compiled on CUDA, and the error of a first chunk.

    The error is that of latents against the model in bfloat16, over all their steps.
    """
    exact = first_latents(built(sizes.main.entry, device), sizes.main.size)
    found: Figures = {"goal": sizes.quantised}
    for name in (KEPT, "float8 by row", "int8 weights", "float8 weights"):
        found[name] = tried(partial(_way, name, exact, sizes, device))
    return found


def _way(name: str, exact: torch.Tensor, sizes: Sizes, device: torch.device) -> dict[str, float]:
    model = built(sizes.main.entry, device)
    network = network_of(model.generator)
    if name == KEPT:
        keep_in_float8(network)
    else:
        from torchao.quantization import quantize_

        for block in network.layers():
            quantize_(block, _config(name), filter_fn=lambda module, place: isinstance(module, nn.Linear))
    error = relative_error(first_latents(model, sizes.main.size), exact)
    if device.type == "cuda":
        network.compile_blocks()
    run = Running(model, sizes.main.size)
    run.fill()
    weights = sum(t.nbytes for t in network.state_dict().values())
    return {"fps": round(run.fps(sizes.chunks), 2), "error": round(error, 4), "weights GB": round(weights / 1e9, 3)}


def _config(name: str) -> Any:
    from torchao import quantization as ao

    match name:
        case "float8 by row":
            return ao.Float8DynamicActivationFloat8WeightConfig(granularity=ao.PerRow())
        case "int8 weights":
            return ao.Int8WeightOnlyConfig()
        case _:
            return ao.Float8WeightOnlyConfig()
