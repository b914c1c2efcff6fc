"""Optimise matrices by Muon: momentum whose update is orthogonalised (Jordan 2024), by the quickly converging
Polar Express polynomials (Amsel et al. 2025, 2505.16932) in place of Newton-Schulz.

Matrices of one shape are stacked, so that a small network costs a few batched products a step. On CUDA the products are
bfloat16 and five polynomials are used; elsewhere float32 and three, as products there cost more than they gain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# the published degree-5 polynomials for a lower bound of 1e-3 on singular values
_POLAR = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
)
# Each polynomial grows without bound just above its domain, and bfloat16 rounds by up to 0.4 %: without a margin at
# every step (section 4.4 of the paper) an iterate that was rounded up is thrown to infinity within two steps.
_MARGIN = 1.01
_SAFE = tuple((a / _MARGIN, b / _MARGIN**3, c / _MARGIN**5) for a, b, c in _POLAR)


def orthogonalised(stack: Tensor, dtype: torch.dtype, steps: int) -> Tensor:
    """Return roughly the nearest semi-orthogonal matrices of a stack [n, rows, columns]; singular values go towards 1.

    `dtype` is that of the products; the result has the dtype of `stack`. `steps` is 1…5.
    """
    wide = stack.mT if stack.shape[-2] > stack.shape[-1] else stack
    x = (wide / (wide.norm(dim=(-2, -1), keepdim=True) * _MARGIN + 1e-7)).to(dtype)
    for a, b, c in _SAFE[:steps]:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.to(stack.dtype)
    return x.mT if stack.shape[-2] > stack.shape[-1] else x


class Muon(torch.optim.Optimizer):
    """Optimise parameters of two or more dimensions; convolution kernels count as [out, in·k·k]."""

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
                fast = (torch.bfloat16, 5) if g.is_cuda else (torch.float32, 3)
                updates = orthogonalised(g.lerp_(m, group["momentum"]), *fast)  # Nesterov
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                torch._foreach_add_(params, [u.view_as(p) for u, p in zip(updates, params, strict=True)], alpha=-scale)
