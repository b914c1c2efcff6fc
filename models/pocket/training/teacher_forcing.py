"""Train the causal transformer and its text encoder: the second stage of pocket's training.

Teacher forcing (every chunk behind a true past) over all chunks of a row in one pass. From 60 % of the time on each
batch is stepped on twice, the second time behind the past that the network itself predicted in the first: its own
errors are then nothing new to it, and cost no additional pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.pocket.training.attention import Way
from models.pocket.training.batch import Batch, gather, loss_of
from models.pocket.training.clips import CHUNK, KNOT, ClipStore
from models.pocket.training.layout import SLOTS, Layout, draw_layout
from models.pocket.training.one_pass import OnePass
from models.pocket.training.stage import Average, Descent, Pair, Save, rate_at

OWN_FROM = 0.6  # share of the time from which on every second step sees its own past
HELD_BACK = 32  # first clips of a store, for validation alone
KNOTS = (0, 0, 1, 2)


@dataclass(frozen=True)
class Size:
    """Say how much a step does. `one_shape`: all batches have room for the longest knot, so that one graph serves."""

    rows: int
    one_shape: bool


CPU_SIZE, CUDA_SIZE = Size(12, one_shape=False), Size(64, one_shape=True)


def size_for(device: torch.device) -> Size:
    return CUDA_SIZE if device.type == "cuda" else CPU_SIZE


def in_bfloat16(device: torch.device) -> bool:
    """Return whether products are faster in bfloat16: on CUDA, and on CPUs that multiply it."""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


class Forcing:
    """Take steps of teacher forcing of a pair over a store of clips; nothing in a step waits for the device."""

    def __init__(self, pair: Pair, store: ClipStore, way: Way, size: Size, seed: int) -> None:
        self.net, self.store, self.size = OnePass(*pair, way), store, size
        self._rng = np.random.default_rng(seed)
        self._first: tuple[Layout, Tensor] | None = None  # the rows of the step before, and what it predicted

    def loss(self, *, own: bool) -> Tensor:
        """Return the loss of the next batch.

        With `own` every second one is the batch before, behind the network's own past.
        """
        again, self._first = self._first, None
        if again is not None:
            layout, past = again[0].again(self._rng), again[1]
        else:
            layout, past = self._drawn(), None
        batch = gather(self.store, layout.to(self.store.device), past)
        prediction = self.predict(batch)
        if own and again is None:
            self._first = layout, prediction.detach()
        return loss_of(prediction, batch)

    def predict(self, batch: Batch) -> Tensor:
        """Return x0 of the noised chunks, [B, SLOTS, C, CHUNK + K, h, w]."""
        device = self.store.device
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(device)):
            return self.net(batch.clean, batch.noisy, batch.layout, batch.captions)

    def _drawn(self) -> Layout:
        held = min(HELD_BACK, self.store.ready // 4)
        ready = slice(held, self.store.ready)
        knots = KNOTS if self.size.one_shape else (int(self._rng.choice(KNOTS)),)
        room = KNOT if self.size.one_shape else knots[0]
        layout = draw_layout(
            self._rng, self.size.rows, self.store.switch[ready], self.store.twin[ready] - held, room, knots
        )
        return shifted(layout, held)

    def validation(self) -> dict[str, float]:
        """Return the mean squared error of x0 on clips never trained on, by noise level: first chunk / later ones."""
        held = min(HELD_BACK, self.store.ready // 4)
        rng = np.random.default_rng(7)
        layout = draw_layout(
            rng, self.size.rows, self.store.switch[:held], np.full(held, -1), KNOT if self.size.one_shape else 0
        )
        found: dict[str, float] = {}
        device = self.store.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(7)
            for sigma in (1.0, 0.75, 0.5):
                layout.sigma.fill_(sigma)
                batch = gather(self.store, layout.to(device))
                error = (self.predict(batch).detach() - batch.target)[:, :, :, :CHUNK].square().mean((2, 3, 4, 5))
                counted = batch.layout.counts.any(2).float()
                for name, slots in (("first", slice(0, 1)), ("later", slice(1, SLOTS))):
                    mean = (error[:, slots] * counted[:, slots]).sum() / counted[:, slots].sum().clamp(min=1)
                    found[f"{name} {sigma}"] = round(mean.item(), 4)
        return found


def shifted(layout: Layout, by: int) -> Layout:
    """Return a layout over clips that stand `by` further on in the store."""
    layout.clip.add_(by)
    layout.source.add_(by)
    return layout


class Run:
    """Run teacher forcing over a span of the clock."""

    def __init__(self, forcing: Forcing, pair: Pair, save: Save, peak: float, say: Callable[[str], None]) -> None:
        self.forcing, self.pair, self._save, self._say = forcing, pair, save, say
        self.descent, self.average = Descent(pair, peak), Average(pair)
        self.steps = 0

    def until(self, stop: float, save_every: float, say_every: float) -> None:
        """Train until `stop` (time.monotonic) and save; between steps also every `save_every` seconds."""
        began = said = saved = time.monotonic()
        said_at, total = 0, torch.zeros((), device=self.forcing.store.device)
        pace = 0.0  # seconds a step, so that the last one ends in time
        while (now := time.monotonic()) + pace < stop:
            done = (now - began) / max(1e-6, stop - began)
            self.descent.rate(rate_at(done, self.steps))
            loss = self.forcing.loss(own=done > OWN_FROM)
            self.descent.down(loss)
            self.average.follow()
            total += loss.detach()
            self.steps += 1
            if time.monotonic() - said >= say_every:
                count = self.steps - said_at
                mean = total.item() / count  # waits for the device
                now = time.monotonic()
                pace = (now - said) / count
                self._say(
                    f"step {self.steps}  loss {mean:.4f}  {1000 * pace:.0f} ms a step  {self.forcing.store.ready} clips"
                )
                if not math.isfinite(mean):
                    self._say("the loss is not a number; back to the averaged weights, at half the rate")
                    self.average.restore()
                    self.descent = Descent(self.pair, self.descent.peak / 2)
                else:
                    self.average.remember()
                said, said_at, total = now, self.steps, torch.zeros_like(total)
            if time.monotonic() - saved >= save_every:
                saved = time.monotonic()
                self._keep(saved - began)
        self._keep(time.monotonic() - began)

    def _keep(self, seconds: float) -> None:
        self._say(f"validation {self.forcing.validation()}")
        self._save(*self.average.pair, {"steps": self.steps, "minutes": round(seconds / 60, 2)})


def train_base(minutes: float, pair: Pair, save: Save, store: ClipStore, *, fresh: bool, seed: int = 0) -> None:
    """Train for `minutes` where the store lies; weights that are not `fresh` are changed more gently."""
    torch.manual_seed(seed)
    device, began = store.device, time.monotonic()
    forcing = Forcing(pair, store, "written" if device.type == "cpu" else "padded", size_for(device), seed)
    forcing.net.compile_blocks()

    def say(line: str) -> None:
        print(f"base {(time.monotonic() - began) / 60:5.1f} min  {line}", flush=True)

    run = Run(forcing, pair, save, 1.0 if fresh else 0.7, say)
    run.until(began + 60 * minutes, save_every=300, say_every=60)
