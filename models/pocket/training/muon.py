"""Muon: momentum whose update is orthogonalised, for matrices (Jordan 2024), with the quickly converging
Polar Express polynomials (Amsel et al. 2025, 2505.16932) in place of Newton-Schulz.

Matrices of one shape are stacked, so that a small network costs a few batched products a step. Everything is
float32: on the CPUs that pocket is trained on bfloat16 products are slower.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# first three of the published degree-5 polynomials; the safety factor of 1.01 is in the normalisation
_POLAR = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
]


def _orthogonal(stack: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices of a stack [n, rows, columns], roughly: singular values go towards 1."""
    wide = stack.mT if stack.shape[-2] > stack.shape[-1] else stack
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    for a, b, c in _POLAR:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if stack.shape[-2] > stack.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """For parameters of two or more dimensions; convolution kernels count as [out, in·k·k]."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape[0], p[0].numel()].append(p)
            for (rows, columns), params in by_shape.items():
                updates = []
                for p in params:
                    assert p.grad is not None
                    g = p.grad.reshape(rows, columns)
                    state = self.state[p]
                    if not state:
                        state["momentum"] = torch.zeros_like(g)
                    m = state["momentum"].lerp_(g, 1 - group["momentum"])
                    updates.append(g.lerp(m, group["momentum"]))  # Nesterov
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                for p, u in zip(params, _orthogonal(torch.stack(updates)), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(u.view_as(p), alpha=scale)
