"""Worker processes that draw training clips into shared memory.

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
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Draw = Callable[[int], tuple[NDArray[Any], ...]]  # job number → arrays of shapes that are the same for every job
PATIENCE = 60.0  # seconds without a finished job after which the pool is taken for broken


class DrawingError(RuntimeError):
    """A worker process failed, or none finished a job for a minute."""


class DrawingPool:
    """`workers` forked processes that call `draw` for job 0, 1, 2, … in order, without end or up to `jobs`.

    What a job draws depends on its number alone, not on the worker. `fields[k]` is a tensor [slots, *shape] over the
    shared memory of the k-th array that `draw` returns; a slot's content is valid from the `take` that names it until
    it is passed to `release`.
    """

    def __init__(self, draw: Draw, workers: int, slots: int, jobs: int | None = None) -> None:
        """Fork the workers. `draw(0)` is called once here to learn shapes and dtypes.

        Raises RuntimeError where CUDA is initialised already: a forked process inherits a context it cannot use.
        """
        if torch.cuda.is_initialized():
            raise RuntimeError("drawing processes are forked before CUDA is initialised")
        cv2.setNumThreads(1)
        arrays = [_shared(slots, array) for array in draw(0)]
        self.fields: tuple[Tensor, ...] = tuple(torch.from_numpy(a) for a in arrays)
        context = multiprocessing.get_context("fork")
        self._free: Any = context.Queue()
        self._full: Any = context.Queue()
        self._numbers: Iterator[int] = iter(range(jobs)) if jobs is not None else itertools.count()
        self._workers = [
            context.Process(target=_work, args=(draw, arrays, self._free, self._full, os.getpid()), daemon=True)
            for _ in range(workers)
        ]
        for worker in self._workers:
            worker.start()
        self.release(range(slots))

    def pin(self) -> None:
        """Page-lock the shared memory, so that copies to a CUDA device run beside its work. Initialises CUDA."""
        for field in self.fields:
            torch.cuda.check_error(
                torch.cuda.cudart().cudaHostRegister(field.data_ptr(), field.numel() * field.element_size(), 0)
            )

    def take(self, least: int, most: int) -> list[tuple[int, int]]:
        """From `least` to `most` finished jobs as (slot, job number); waits only for the first `least`.

        Raises DrawingError.
        """
        taken: list[tuple[int, int]] = []
        deadline = time.monotonic() + PATIENCE
        while len(taken) < most:
            try:
                slot, number, failure = self._full.get_nowait()
            except queue.Empty:
                if len(taken) >= least:
                    break
                if time.monotonic() > deadline or not all(w.is_alive() for w in self._workers):
                    raise DrawingError("the drawing processes have stopped") from None
                time.sleep(0.002)
                continue
            if failure:
                raise DrawingError(f"job {number} could not be drawn: {failure}")
            taken.append((slot, number))
            deadline = time.monotonic() + PATIENCE
        return taken

    def release(self, slots: Iterable[int]) -> None:
        """Give slots back to the workers, one more job each while there are any."""
        for slot, number in zip(slots, self._numbers, strict=False):
            self._free.put((slot, number))

    def close(self) -> None:
        """End the workers."""
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


class Clips:
    """A pool's finished jobs as copies: frames [n, H, W, 3] uint8 and centres [n, 2] of each."""

    def __init__(self, pool: DrawingPool, most: int = 16) -> None:
        self._pool, self._most = pool, most

    def take(self) -> list[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
        """Up to `most` jobs that finished since the last call, with their numbers; does not wait."""
        taken = self._pool.take(0, self._most)
        frames, centres = self._pool.fields
        out = [(number, frames[slot].numpy().copy(), centres[slot].numpy().copy()) for slot, number in taken]
        self._pool.release(slot for slot, _ in taken)
        return out


def _shared(slots: int, example: NDArray[Any]) -> NDArray[Any]:
    """An array [slots, *example.shape] in memory that forked processes share."""
    shape = (slots, *example.shape)
    memory = mmap.mmap(-1, max(1, int(np.prod(shape)) * example.dtype.itemsize))
    return np.frombuffer(memory, example.dtype, int(np.prod(shape))).reshape(shape)


def _work(draw: Draw, arrays: list[NDArray[Any]], free: Any, full: Any, parent: int) -> None:
    """Draw until terminated, or until the process that started this one is gone."""
    while os.getppid() == parent:
        try:
            slot, number = free.get(timeout=5)
        except queue.Empty:
            continue
        failure = ""
        try:
            for array, values in zip(arrays, draw(number), strict=True):
                array[slot] = values
        except Exception as error:  # the training process raises it, in one place for all workers
            failure = f"{type(error).__name__}: {error}"
        full.put((slot, number, failure))
