"""Copy tensors that are kept for long, out of the way of short-lived ones, and bring tensors to the host.

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


def on_host(tensor: Tensor) -> Tensor:
    """Return a tensor in the host's memory, complete; from a CUDA device it is copied into page-locked memory.

    The driver copies straight into such memory, where other memory takes a second copy, and torch keeps it for the next
    call once nothing uses it any more.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    copy.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return copy
