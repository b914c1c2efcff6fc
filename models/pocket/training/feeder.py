"""Encode clips from the drawing processes into the store, beside the training that already runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.pocket.training.clips import ClipStore
from models.pocket.training.drawing_pool import DrawingPool

PAIRS = 4  # at a time


@contextmanager
def fed(store: ClipStore, pool: DrawingPool) -> Iterator[Feeder]:
    """Fill the store from the pool until it is full or the block is left. What goes wrong is raised when it is left."""
    feeder = Feeder(store, pool)
    feeder.start()
    try:
        yield feeder
    finally:
        feeder.stop()


class Feeder(threading.Thread):
    """Encode clips into a store in a thread; on CUDA its work runs on a stream of its own."""

    def __init__(self, store: ClipStore, pool: DrawingPool) -> None:
        super().__init__(daemon=True, name="clips")
        self.store, self.pool = store, pool
        self._left, self._going, self._busy = threading.Event(), threading.Event(), threading.Lock()
        self._going.set()
        self.failure: BaseException | None = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold up encoding meanwhile: a compiler that traces changes how modules are called, in all threads."""
        self._going.clear()
        with self._busy:
            yield
        self._going.set()

    def stop(self) -> None:
        """Wait for the thread. Raises what ended it early if the store never got a clip."""
        self._left.set()
        self._going.set()
        self.join()
        if self.failure is not None:
            if self.store.ready == 0:
                raise self.failure
            print(f"clips: no more after {self.store.ready}: {self.failure}", flush=True)

    def wait_for(self, clips: int) -> None:
        """Wait until the store has so many clips, or gets no more."""
        while self.store.ready < clips and self.is_alive():
            self._left.wait(0.05)

    def run(self) -> None:
        cuda = self.store.device.type == "cuda"
        stream = torch.cuda.Stream(self.store.device) if cuda else None
        try:
            while self.store.ready + 2 <= self.store.capacity and not self._left.is_set():
                self._going.wait()
                with self._busy, torch.cuda.stream(stream):
                    filled = self.pool.take(1, PAIRS)
                    slots = filled.slots.tolist()
                    frames, centres = (
                        torch.cat([field[s].to(self.store.device, non_blocking=True) for s in slots])
                        for field in self.pool.fields
                    )
                    self.store.add(frames, centres, [fact for pair in filled.facts for fact in pair])
                    self.pool.release(slots)
        except BaseException as error:
            self.failure = error
