"""Solve a flow in few steps by UniPC (2302.04867): order 2, `bh2`, data prediction, first order in the last step.

Where few-step models of the Self-Forcing kind draw fresh noise between steps, LongLive 2.0 goes on with the noise that
a chunk began with. Each step first corrects the latents that the step before has predicted, then predicts the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


class UniPC:
    """Hold the clean latents that were predicted so far, and where the newest step began; one for each chunk."""

    def __init__(self, sigmas: Sequence[float]) -> None:
        """Begin at the first of the noise levels, which fall and lie between 0 and 1; below the last there is none."""
        self._sigmas = tuple(sigmas)
        self._clean: list[Tensor] = []  # the newest two predictions of clean latents
        self._began: Tensor | None = None  # the corrected latents of the newest step
        self._steps = 0

    def step(self, x: Tensor, x0: Tensor) -> Tensor:
        """Return the latents at the next noise level, given those of this one and the clean ones predicted from them.

        Behind the last noise level these are the clean ones themselves.
        """
        at = self._steps
        self._steps += 1
        if at + 1 == len(self._sigmas):
            return x0
        began = x if self._began is None else self._corrected(at, x0)
        order = min(2, at + 1)
        newest = [*self._clean, x0][-2:]
        h, first = self._progress(at, at + 1)
        following = self._sigmas[at + 1]
        out = following / self._sigmas[at] * began - (1 - following) * first * x0
        if order == 2:
            ratio = self._progress(at, at - 1)[0] / h
            out = out - (1 - following) * first * 0.5 * (newest[0] - x0) / ratio
        self._clean, self._began = newest, began
        return out

    def _corrected(self, at: int, x0: Tensor) -> Tensor:
        """Return the latents at noise level `at` anew, now that the clean ones predicted there are known."""
        assert self._began is not None, "nothing to correct before the first step"
        before, sigma = self._sigmas[at - 1], self._sigmas[at]
        newest = self._clean[-1]
        h, first = self._progress(at - 1, at)
        out = sigma / before * self._began - (1 - sigma) * first * newest
        change = x0 - newest
        if len(self._clean) == 1:
            return out - (1 - sigma) * first * 0.5 * change
        ratio = self._progress(at - 1, at - 2)[0] / h
        # weights w of both differences: w1 + w2 = b1 and ratio·w1 + w2 = b2, with the phi functions of -h on the right
        phi = first / -h - 1
        b1 = phi / first
        b2 = 2 * (phi / -h - 0.5) / first
        older = (b1 - b2) / (1 - ratio)
        return out - (1 - sigma) * first * (older * (self._clean[-2] - newest) / ratio + (b1 - older) * change)

    def _progress(self, start: int, stop: int) -> tuple[float, float]:
        """Return the change h of log(signal / noise) between two noise levels, and exp(-h) - 1."""
        a, b = (math.log((1 - sigma) / sigma) for sigma in (self._sigmas[start], self._sigmas[stop]))
        return b - a, math.expm1(a - b)
