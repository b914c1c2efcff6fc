"""Measure whether this CPU multiplies bfloat16 faster than float32, since that differs from processor to processor."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch.nn import functional as F

PAYS = 1.4  # times as fast: below that the rounding is not worth it
TRIES = 4


def emulates_bfloat16() -> bool:
    """Return whether torch computes bfloat16 on this CPU without vector instructions: x86 that ends with AVX2.

    There convolutions of pocket's codec were 30 to 90 times as slow as in float32 (AMD EPYC, torch 2.13).
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


@lru_cache(maxsize=1)
def bfloat16_pays() -> bool:
    """Return whether products and convolutions, as models have them, are PAYS times as fast in bfloat16 on this CPU.

    Measured once a process, in a fraction of a second; the fastest of several tries counts, as a busy machine slows
    single ones down. Processors with AMX or AVX-512 BF16 reach 2 to 5. Where bfloat16 is emulated nothing is measured:
    the measurement alone took seconds of every start.
    """
    if emulates_bfloat16():
        return False
    tokens, weights = torch.randn(768, 512), torch.randn(1536, 512)
    pictures, kernels = torch.randn(1, 64, 64, 64), torch.randn(64, 64, 3, 3)

    def product(dtype: torch.dtype) -> float:
        a, b = tokens.to(dtype), weights.to(dtype)
        return _fastest(lambda: F.linear(a, b))

    def convolution(dtype: torch.dtype) -> float:
        a, b = pictures.to(dtype), kernels.to(dtype)
        return _fastest(lambda: F.conv2d(a, b, padding=1))

    with torch.inference_mode():
        most = (product(torch.float32) + convolution(torch.float32)) / PAYS
        # convolutions that are emulated take seconds, and products have told already
        return (spent := product(torch.bfloat16)) < most and spent + convolution(torch.bfloat16) <= most


def _fastest(work: Callable[[], torch.Tensor]) -> float:
    work()  # the first call prepares kernels
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
