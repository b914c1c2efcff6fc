"""Name the function that measures each stage; this module imports torch, which only a stage's own process does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch

from app.device_check import kernels, pictures, quantised, rollouts
from app.device_check.sizes import DRY, FULL, Sizes
from app.device_check.timing import Figures

FUNCTIONS: dict[str, Callable[[Sizes, torch.device], Figures]] = {
    "machine": kernels.machine,
    "attention": kernels.attention,
    "chunk": rollouts.chunk,
    "compiled": rollouts.compiled,
    "others": rollouts.others,
    "codecs": pictures.codecs,
    "quantised": quantised.quantised,
    "overlap": pictures.overlap,
    "correctness": rollouts.correctness,
    "memory": rollouts.memory,
    "offloaded": rollouts.offloaded,
    "switches": rollouts.switches,
    "products": kernels.products,
    "copies": pictures.copies,
    "encoders": pictures.encoders,
    "graph": rollouts.graph,
}


def measure(stage: str, device: str, *, dry: bool) -> Figures:
    """Return what a stage measures on a device; a dry run compiles nothing, which takes minutes on a CPU."""
    where = torch.device(device)
    if where.index is not None:  # events, graphs and counters of memory are those of the current device
        torch.cuda.set_device(where)
    with torch.compiler.set_stance("force_eager") if dry else nullcontext():
        return FUNCTIONS[stage](DRY if dry else FULL, where)
