"""Draw training clips into shared memory by worker processes.

Workers are forked, so that they inherit the drawing code, its caches and one block of memory a field without copying;
the pool is therefore built before CUDA is initialised and before the process starts threads of its own. Each worker
writes clip after clip into free slots; the training process takes the slots that are full, copies them to its device
and hands the slots back.
"""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import queue
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# arrays of shapes that are the same for every call, and any picklable facts about them
Draw = Callable[[random.Random], tuple[tuple[NDArray[Any], ...], Any]]
PATIENCE = 60.0  # seconds without a finished job after which the pool is taken for broken


class DrawingError(RuntimeError):
    """Report a worker process that failed, or that none finished a job for a minute."""


@dataclass(frozen=True)
class Filled:
    """Name slots that hold a drawn clip each, and the facts of each clip."""

    slots: Tensor  # [n] int64
    facts: list[Any]


class DrawingPool:
    """Run `workers` forked processes that call `draw` without end.

    What the n-th clip shows depends on `seed` and n, not on the worker that draws it. `fields[k]` is a tensor
    [slots, *shape] over the shared memory of the k-th array that `draw` returns; a slot's content is valid from the
    `take` that names it until it is passed to `release`.
    """

    def __init__(self, draw: Draw, workers: int, slots: int, seed: int = 0) -> None:
        """Fork the workers. `draw` is called once here to learn shapes and dtypes.

        Raises RuntimeError where CUDA is initialised already: a forked process inherits a context it cannot use.
        """
        if torch.cuda.is_initialized():
            raise RuntimeError("drawing processes are forked before CUDA is initialised")
        cv2.setNumThreads(1)
        arrays = [_shared(slots, array) for array in draw(_numbered(seed, 0))[0]]
        self.fields: tuple[Tensor, ...] = tuple(torch.from_numpy(a) for a in arrays)
        context = multiprocessing.get_context("fork")
        self._free: Any = context.Queue()
        self._full: Any = context.Queue()
        self._numbers = itertools.count()
        self._workers = [
            context.Process(target=_work, args=(draw, arrays, self._free, self._full, seed, os.getpid()), daemon=True)
            for _ in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        self.release(range(slots))

    def pin(self) -> bool:
        """Page-lock the shared memory, so that copies to a CUDA device run beside its work; says whether it could.

        Initialises CUDA.
        """
        for field in self.fields:
            size = field.numel() * field.element_size()
            if int(torch.cuda.cudart().cudaHostRegister(field.data_ptr(), size, 0)) != 0:
                return False
        return True

    def take(self, least: int, most: int) -> Filled:
        """Return from `least` to `most` filled slots; waits only for the first `least`. Raises DrawingError.

        ValueError for a `least` that is more than there are slots.
        """
        if least > len(self.fields[0]):
            raise ValueError(f"{least} clips never lie in {len(self.fields[0])} slots at once")
        slots: list[int] = []
        facts: list[Any] = []
        deadline = time.monotonic() + PATIENCE
        while len(slots) < most:
            try:
                slot, fact, failure = self._full.get_nowait()
            except queue.Empty:
                if len(slots) >= least:
                    break
                if time.monotonic() > deadline or not all(w.is_alive() for w in self._workers):
                    raise DrawingError("the drawing processes have stopped") from None
                time.sleep(0.002)
                continue
            if failure:
                raise DrawingError(f"a clip could not be drawn: {failure}")
            slots.append(slot)
            facts.append(fact)
            deadline = time.monotonic() + PATIENCE
        return Filled(torch.tensor(slots, dtype=torch.int64), facts)

    def release(self, slots: Iterable[int] | Tensor) -> None:
        """Give slots back to the workers."""
        for slot in slots:
            self._free.put((int(slot), next(self._numbers)))

    def close(self) -> None:
        """Stop the workers."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join()
        for channel in (self._free, self._full):
            channel.cancel_join_thread()
            channel.close()

    def __enter__(self) -> DrawingPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _numbered(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}/{number}")


def _shared(slots: int, example: NDArray[Any]) -> NDArray[Any]:
    """Return an array [slots, *example.shape] in memory that forked processes share."""
    shape = (slots, *example.shape)
    memory = mmap.mmap(-1, max(1, int(np.prod(shape)) * example.dtype.itemsize))
    return np.frombuffer(memory, example.dtype, int(np.prod(shape))).reshape(shape)


def _work(draw: Draw, arrays: list[NDArray[Any]], free: Any, full: Any, seed: int, parent: int) -> None:
    """Draw until terminated, or until the process that started this one is gone."""
    while os.getppid() == parent:
        try:
            slot, number = free.get(timeout=5)
        except queue.Empty:
            continue
        facts, failure = None, ""
        try:
            drawn, facts = draw(_numbered(seed, number))
            for array, values in zip(arrays, drawn, strict=True):
                array[slot] = values
        except Exception as error:  # the training process raises it, in one place for all workers
            failure = f"{type(error).__name__}: {error}"
        full.put((slot, facts, failure))
