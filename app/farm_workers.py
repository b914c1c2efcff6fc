"""Say where the films of a farm are rendered: what a place offers, and the processes of this machine as one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.device_name import require_device
from app.render_program import farm_program
from streaming.render_process import Ending, RenderProcesses


@dataclass(frozen=True)
class FarmRender:
    """Say what `longtake render` is to make of a take, with absolute paths."""

    take: Path
    film: Path
    options: tuple[str, ...]
    threads: int | None  # None: as torch has it
    models: Path  # the folder of downloaded models


class FarmWorkers(Protocol):
    """Render films, several at once; workers have numbers from 0 on."""

    @property
    def kind(self) -> str:
        """Return the type of the devices: cpu or cuda."""
        ...

    @property
    def usual(self) -> int:
        """Return how many films are rendered at once, unless a person says otherwise."""
        ...

    def device_of(self, worker: int) -> str:
        """Return the `--device` of a worker's renders."""
        ...

    def threads(self, workers: int) -> int | None:
        """Return on how many threads each of so many workers renders; None: as torch has it."""
        ...

    async def render(self, task: FarmRender) -> Ending:
        """Render, and return how that ended; OSError if no process can be started.

        If this is cancelled, what was started is killed first.
        """
        ...


class LocalWorkers:
    """Render films by processes of this machine."""

    def __init__(self, device: str) -> None:
        """Render on the device that `--device` names; DeviceError if it cannot be used."""
        require_device(device)
        from app.loaded_model import torch_device

        self._device, self.kind = device, torch_device(device).type

    @property
    def usual(self) -> int:
        """Return one for each GPU that may be used, or each core of the CPU."""
        if self.kind == "cpu":
            return cores()
        import torch

        return torch.cuda.device_count() if self._device in ("auto", "cuda") else 1

    def device_of(self, worker: int) -> str:
        """Return the device of a worker: they share the GPUs evenly."""
        if self.kind == "cpu" or self._device not in ("auto", "cuda"):
            return self._device
        import torch

        return f"cuda:{worker % torch.cuda.device_count()}"

    def threads(self, workers: int) -> int | None:
        """Share out the cores of a CPU."""
        return max(1, cores() // workers) if self.kind == "cpu" else None

    async def render(self, task: FarmRender) -> Ending:
        """Render by a process of its own, which ends with this one."""
        return await render_here(task)


async def render_here(task: FarmRender) -> Ending:
    """Render by a process of this machine, as `FarmWorkers.render` has it."""
    processes = RenderProcesses("cpu", lambda: False, priority=None)  # nobody watches
    program = farm_program(task.take, task.film, task.options, task.threads, task.models)
    return await processes.run(program, lambda state: None)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
