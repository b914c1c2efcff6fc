"""Fuse chunks by knots: latents denoised past the end of a chunk and held back (Knot Forcing, 2512.21734).

A held knot is what the chunk before expected to come; before the first chunk of a take with a reference it is that
image. The next chunk starts from it: in every step its first latents are the knot, as it is where a mask channel says
that they are given, else brought to the step's noise level. After the last step they are averaged with it. A knot is
never in the cache, and is decoded once, after fusion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.sampler import renoised

DISAGREEMENT = 1.0  # relative; from here on knot and prediction show different things, and an average would ghost


def ramp(latents: int) -> tuple[float, ...]:
    """Return weights of a held knot of `latents` latents: 1/2 for one (the paper's Eq. 5), falling over more."""
    return tuple(1 - (i + 1) / (latents + 1) for i in range(latents))


def pin(x: Tensor, held: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Replace the first latents of `x` [N, C, F, h, w] by the knot [N, C, k, h, w], brought to noise level `sigma`."""
    k = held.shape[2]
    return torch.cat([renoised(held, noise[:, :, :k], sigma), x[:, :, k:]], 2)


def disagreement(held: Tensor, new: Tensor) -> Tensor:
    """Return each row's mean distance of knot and prediction, in standard deviations of the prediction; [N]."""
    return (held - new).abs().mean((1, 2, 3, 4)) / new.flatten(1).std(1).clamp(min=1e-6)


def fuse(x0: Tensor, held: Tensor, weights: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Average the first of the clean latents [N, C, F, h, w] with the knot; return them and the disagreement [N].

    Beyond DISAGREEMENT the average leans to the new prediction, in proportion.
    """
    new = x0[:, :, : held.shape[2]]
    apart = disagreement(held, new)
    lean = (DISAGREEMENT / apart.clamp(min=1e-6)).clamp(max=1)
    w = torch.stack([weight * lean for weight in weights], 1).view(-1, 1, len(weights), 1, 1)
    return torch.cat([w * held + (1 - w) * new, x0[:, :, held.shape[2] :]], 2), apart
