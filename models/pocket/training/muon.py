"""Muon: momentum whose update is orthogonalised, for matrices (Jordan 2024), with the quickly converging
Polar Express polynomials (Amsel et al. 2025, 2505.16932) in place of Newton-Schulz.

Matrices of one shape are stacked, so that a small network costs a few batched products a step. On CUDA the products are
bfloat16 and five polynomials are used; elsewhere float32 and three, as products there cost more than they gain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# first of the published degree-5 polynomials; the safety factor of 1.01 is in the normalisation
_POLAR = [
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
]


def _orthogonal(stack: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices of a stack [n, rows, columns], roughly: singular values go towards 1."""
    wide = stack.mT if stack.shape[-2] > stack.shape[-1] else stack
    x = wide / (wide.norm(dim=(-2, -1), keepdim=True) * 1.01 + 1e-7)
    x = x.bfloat16() if x.is_cuda else x
    for a, b, c in _POLAR if x.is_cuda else _POLAR[:3]:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.to(stack.dtype)
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
                g = torch.stack([p.grad.reshape(rows, columns) for p in params if p.grad is not None])
                state = self.state[params[0]]  # the first of a shape keeps the momentum of all
                if "momentum" not in state or len(state["momentum"]) != len(params):
                    state["momentum"] = torch.zeros_like(g)
                m = state["momentum"].lerp_(g, 1 - group["momentum"])
                updates = _orthogonal(g.lerp_(m, group["momentum"]))  # Nesterov
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                torch._foreach_add_(params, [u.view_as(p) for u, p in zip(updates, params, strict=True)], alpha=-scale)
