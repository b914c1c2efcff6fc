"""Give the stages of training what they share: optimisers, a schedule over a time budget, averaged weights, saving."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from models.pocket.training.muon import Muon
from models.pocket.weights import Facts
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer

Save = Callable[[CausalWanTransformer, WordText, Facts], None]
Pair = tuple[CausalWanTransformer, WordText]

WARM_UP, FALL = 40, 0.55  # steps of a rising rate; share of the budget, at its end, over which the rate falls to zero


def rate_at(done: float, step: int, warm_up: int = WARM_UP) -> float:
    """Share of the peak rate when a share `done` of the time is spent; by the clock, as budgets are minutes."""
    return min(1.0, (step + 1) / warm_up) * min(1.0, max(0.02, (1 - done) / FALL))


class Descent:
    """Train two networks together, with their optimisers."""

    def __init__(self, pair: Pair, peak: float) -> None:
        self.both, self.peak = nn.ModuleList(pair), peak
        named = list(self.both.named_parameters())
        matrices = [p for n, p in named if ".blocks." in n and p.ndim == 2]
        rest = [p for n, p in named if not (".blocks." in n and p.ndim == 2)]
        adam = torch.optim.AdamW(rest, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self._optims: list[torch.optim.Optimizer] = [Muon(matrices, lr=0.02), adam]
        self._bases = [g["lr"] for o in self._optims for g in o.param_groups]

    def rate(self, share: float) -> None:
        """Set learning rates, as a share of the peak."""
        for optim, base in zip(self._optims, self._bases, strict=True):
            optim.param_groups[0]["lr"] = base * self.peak * share

    def down(self, loss: Tensor) -> None:
        """Take one step against the gradient of `loss`, its norm clipped to 1. Nothing waits for the device."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.both.parameters(), 1.0, foreach=True)
        for optim in self._optims:
            optim.step()
            optim.zero_grad(set_to_none=True)


class Average:
    """Hold exponentially averaged weights of a pair; young ones follow quickly."""

    def __init__(self, pair: Pair, decay: float = 0.995) -> None:
        self.pair, self.decay, self._step = copy.deepcopy(pair), decay, 0
        self._averaged: list[Tensor] = [p for module in self.pair for p in module.parameters()]
        self._followed: list[Tensor] = [p for module in pair for p in module.parameters()]
        self._good: list[Tensor] = []

    @torch.no_grad()
    def follow(self) -> None:
        self._step += 1
        share = 1 - min(self.decay, self._step / (self._step + 10))
        torch._foreach_lerp_(self._averaged, self._followed, share)

    @torch.no_grad()
    def remember(self) -> None:
        """Keep the averaged weights as they are, which are known to be numbers."""
        if not self._good:
            self._good = [torch.empty_like(p) for p in self._averaged]
        torch._foreach_copy_(self._good, self._averaged)

    @torch.no_grad()
    def restore(self) -> None:
        """Bring both the averaged weights and those that are trained back to what was last remembered."""
        if self._good:
            torch._foreach_copy_(self._averaged, self._good)
            torch._foreach_copy_(self._followed, self._good)


class Stage:
    """Walk through a time budget. Averaged weights go to `save` every five minutes and at the end."""

    def __init__(self, name: str, minutes: float, pair: Pair, save: Save, peak: float) -> None:
        self.name, self.minutes, self.pair, self._save = name, minutes, pair, save
        self.descent = Descent(pair, peak)
        self._average = Average(pair)
        self._step, self._loss = 0, torch.tensor(float("nan"))

    def steps(self) -> Iterator[float]:
        """Yield the share of the budget that is spent, before every step; the caller then calls `down` once."""
        spent, said, saved = 0.0, 0.0, 0.0
        while (done := spent / self.minutes) < 1:
            began = time.monotonic()
            self.descent.rate(rate_at(done, self._step))
            yield done
            spent += min((time.monotonic() - began) / 60, 0.25)  # a process that was stopped for a while did not train
            if spent - said >= 1:
                said = spent
                print(f"{self.name} {spent:5.1f} min  step {self._step}  loss {self._loss.item():.4f}", flush=True)
            if spent - saved >= 5:
                saved = spent
                self._save(*self._average.pair, {"steps": self._step, "minutes": spent})
        self._save(*self._average.pair, {"steps": self._step, "minutes": self.minutes})

    def down(self, loss: Tensor) -> None:
        """Take one step of descent, and average the weights after it."""
        self.descent.down(loss)
        self._step, self._loss = self._step + 1, loss.detach()
        self._average.follow()
