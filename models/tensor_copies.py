"""Copy tensors that are kept for long, out of the way of short-lived ones.

Snapshots live for minutes among activations that live for milliseconds. On one heap they lie scattered between them:
twice their size was measured, and what they leave behind is not given back. So copies made together share one mapping,
which the system has back as soon as the last of them goes.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

_ALIGNED = 64  # bytes: a cache line, and more than any type asks for


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return contiguous copies of the tensors in their order; off the CPU, the device's own allocator keeps them."""
    if not tensors or tensors[0].device.type != "cpu":
        return [t.clone(memory_format=torch.contiguous_format) for t in tensors]
    starts, size = [], 0
    for t in tensors:
        starts.append(size)
        size += -(-t.nbytes // _ALIGNED) * _ALIGNED
    if size == 0:
        return [t.clone() for t in tensors]
    block = torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8)
    out = []
    for t, start in zip(tensors, starts, strict=True):
        place = block[start : start + t.nbytes].view(t.dtype).view(t.shape)
        out.append(place.copy_(t))
    return out
