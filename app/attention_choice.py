"""Find the attention kernel that is fastest for a model on this card: which one it is differs from card to card.

cuDNN's is about twice as fast as torch's flash kernel on Hopper by published figures, and slower on other cards.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.attention import attend, prefer
from models.catalog_entry import Entry

log = logging.getLogger(__name__)

KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
WRONG = 0.02  # of the largest value: a kernel that errs more in bfloat16 is not taken; 0.004 is one bit of its mantissa
TRIES = 5


@dataclass(frozen=True)
class Tried:
    """Hold what a kernel took for one attention, and its largest error as a share of the largest exact value."""

    kernel: SDPBackend
    seconds: float
    error: float

    @property
    def sound(self) -> bool:
        """Return whether the error is one of rounding."""
        return self.error <= WRONG


def prefer_fastest(entry: Entry, device: torch.device, dtype: torch.dtype) -> list[Tried]:
    """Have this process try the kernel first that is fastest for a chunk of the model, and return all that were tried.

    On a CPU nothing is measured, as torch has one kernel there that is always taken.
    """
    if device.type != "cuda":
        return []
    found = measured(*_shapes(entry), device, dtype)
    ranked = sorted((one for one in found if one.sound), key=lambda one: one.seconds)
    prefer([one.kernel for one in ranked])
    said = (f"{one.kernel.name} {1000 * one.seconds:.2f} ms" + ("" if one.sound else ", wrong") for one in found)
    log.info("attention of %s: %s", entry.name, "; ".join(said) or "none of torch's fast kernels runs here")
    return found


def measured(
    queries: tuple[int, ...],
    keys: tuple[int, ...],
    device: torch.device,
    dtype: torch.dtype,
    kernels: Sequence[SDPBackend] = KERNELS,
) -> list[Tried]:
    """Time an attention of these shapes [1, tokens, heads, d] by every kernel that can run it.

    The error is that of the first 64 queries against float32.
    """
    make = torch.Generator(device).manual_seed(0)
    q, k, v = (torch.randn(s, generator=make, device=device, dtype=dtype) for s in (queries, keys, keys))
    with sdpa_kernel(SDPBackend.MATH):
        exact = attend(q[:, :64].float(), k.float(), v.float())
    found = []
    for kernel in kernels:
        with sdpa_kernel(kernel):
            try:
                out = attend(q, k, v)
            except RuntimeError:  # the card, the type or the shape is nothing for it
                continue
            error = float((out[:, :64].float() - exact).abs().max() / exact.abs().max())
            found.append(Tried(kernel, statistics.median(_seconds(q, k, v) for _ in range(TRIES)), error))
    return found


def _shapes(entry: Entry) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of queries and keys of a chunk with a full window."""
    t, r, (width, height) = entry.transformer, entry.rollout, entry.size
    _, rows, columns = t["patch_size"]
    tokens = (height // (entry.stride * rows)) * (width // (entry.stride * columns))
    heads = (t["num_attention_heads"], t["attention_head_dim"])
    return (1, r.chunk * tokens, *heads), (1, r.window * tokens, *heads)


def _seconds(q: Tensor, k: Tensor, v: Tensor) -> float:
    _finish(q.device)
    began = time.perf_counter()
    attend(q, k, v)
    _finish(q.device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
