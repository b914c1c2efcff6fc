"""A training stage of the transformer under way: its budget, its rates, its averaged weights, its log."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.pocket.training.codec import optimisers
from models.pocket.weights import Facts
from models.text.words import WordText
from models.transformer import CausalWanTransformer

Save = Callable[[CausalWanTransformer, WordText, Facts], None]
Pair = tuple[CausalWanTransformer, WordText]


class Descent:
    """Two networks that are trained together, and the optimisers that do it."""

    def __init__(self, pair: Pair, peak: float) -> None:
        self.both, self.peak = nn.ModuleList(pair), peak
        self._optims = optimisers(self.both, 0.02, 2e-3, matrix=lambda n, p: ".blocks." in n and p.ndim == 2)
        self._bases = [g["lr"] for o in self._optims for g in o.param_groups]

    def rate(self, share: float) -> None:
        """Learning rates, as a share of the peak."""
        for optim, base in zip(self._optims, self._bases, strict=True):
            optim.param_groups[0]["lr"] = base * self.peak * share

    def down(self, loss: Tensor) -> None:
        """One step against the gradient of `loss`, its norm clipped to 1."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.both.parameters(), 1.0)
        for optim in self._optims:
            optim.step()
            optim.zero_grad(set_to_none=True)


class Stage:
    """Walks through a time budget. Averaged weights go to `save` every five minutes and at the end."""

    def __init__(self, name: str, minutes: float, pair: Pair, save: Save, peak: float) -> None:
        self.name, self.minutes, self.pair, self._save = name, minutes, pair, save
        self.descent = Descent(pair, peak)
        self._average = copy.deepcopy(pair)
        self._averaged = [p for module in self._average for p in module.parameters()]
        self._step, self._loss = 0, float("nan")

    def steps(self) -> Iterator[float]:
        """The share of the budget that is spent, before every step; the caller then calls `down` once."""
        spent, said, saved = 0.0, 0.0, 0.0
        while (done := spent / self.minutes) < 1:
            began = time.monotonic()
            self.descent.rate(min(1.0, (self._step + 1) / 40) * min(1.0, max(0.02, (1 - done) / 0.55)))
            yield done
            spent += min(
                (time.monotonic() - began) / 60, 0.25
            )  # a process that was stopped for a while has not trained
            if spent - said >= 1:
                said = spent
                print(f"{self.name} {spent:5.1f} min  step {self._step}  loss {self._loss:.4f}", flush=True)
            if spent - saved >= 5:
                saved = spent
                self._save(*self._average, {"steps": self._step, "minutes": spent})
        self._save(*self._average, {"steps": self._step, "minutes": self.minutes})

    def down(self, loss: Tensor) -> None:
        self.descent.down(loss)
        self._step, self._loss = self._step + 1, loss.item()
        with torch.no_grad():
            share = 1 - min(0.995, self._step / (self._step + 10))
            for a, p in zip(self._averaged, self.descent.both.parameters(), strict=True):
                a.lerp_(p, share)
