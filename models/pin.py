"""Hold given latents in place while a chunk is denoised: an image at its start, a source outside a region.

Before every step they are brought to the step's noise level, as in inpainting by RePaint (2201.09865); after the last
one they are as they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.sampler import renoised
from models.source import Given


@dataclass(frozen=True)
class Pin:
    """Hold clean latents [batch or 1, C, F, h, w], and where they stay: bool that broadcasts to [1, 1, F, h, w]."""

    latents: Tensor
    where: Tensor
    clean: bool = False  # whether it is given to the network as it is, at every noise level


def pins_of(image: Tensor | None, followed: Given | None, x: Tensor, *, clean: bool = False) -> list[Pin]:
    """Return what is pinned in a chunk `x` [batch, C, F, h, w]: a source around a region, an image [batch, C, k, h, w].

    The image is pinned in all of its latents, from the chunk's first one on, and comes last; `clean` as it is.
    """
    pins: list[Pin] = []
    if followed is not None and followed.kept is not None:
        pins.append(Pin(lengthened(followed.latents, x), followed.kept))
    if image is not None:
        number = torch.arange(x.shape[2], device=x.device).view(1, 1, -1, 1, 1)
        pins.append(Pin(lengthened(image, x), number < image.shape[2], clean))
    return pins


def held(pins: Sequence[Pin], x: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """Return the chunk with what is pinned at noise level `sigma`."""
    for pin in pins:
        x = torch.where(pin.where, pin.latents if pin.clean else renoised(pin.latents, noise, sigma), x)
    return x


def kept(pins: Sequence[Pin], x: Tensor) -> Tensor:
    """Return the clean chunk with what is pinned as it was given."""
    for pin in pins:
        x = torch.where(pin.where, pin.latents, x)
    return x


def lengthened(latents: Tensor, x: Tensor) -> Tensor:
    """Return latents [batch or 1, C, f, h, w] with as many latents as `x` has, the last one repeated."""
    missing = x.shape[2] - latents.shape[2]
    return torch.cat([latents, latents[:, :, -1:].expand(-1, -1, missing, -1, -1)], 2)
