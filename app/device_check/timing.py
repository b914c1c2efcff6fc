"""Time work on a device, and note what fails instead of stopping."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import torch

Figures = dict[str, object]  # what a stage has measured, as JSON has it
T = TypeVar("T")


def wait(device: torch.device) -> None:
    """Wait until the device is done with its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(work: Callable[[], object], device: torch.device, warm: int, calls: int) -> float:
    """Return the median time of a call in milliseconds, after `warm` calls that do not count.

    On CUDA the device's own events time it, so that launches of the next call run meanwhile.
    """
    for _ in range(warm):
        work()
    wait(device)
    if device.type != "cuda":
        return statistics.median(1000 * seconds(work, device) for _ in range(calls))
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)]
    for before, after in pairs:
        before.record()
        work()
        after.record()
    wait(device)
    return statistics.median(before.elapsed_time(after) for before, after in pairs)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return how long a call takes, until the device is done with it."""
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def tried(work: Callable[[], T]) -> T | str:
    """Return the result of a call, or why it failed, in a line: a kernel that a card lacks is a finding."""
    try:
        return work()
    except Exception as e:
        return failure(e)


def failure(error: Exception) -> str:
    """Return an exception in a line of at most 200 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest difference of two tensors as a share of the largest value of the exact one."""
    return float((found.double() - exact.double()).abs().max() / exact.double().abs().max())
