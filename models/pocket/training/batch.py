"""Make a batch on the device: latents gathered by a layout, noised, and the loss of what a network takes them for.

What no caption says, the noise of a take's first chunk decides: in training its sign is chosen so that the mean of
noise channel i agrees with the clip's i-th unsaid bit (a coupling; over all clips the noise stays standard normal).
A few-step model then need not average over worlds, and a seed shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.pocket.training.clips import CHUNK, SUBJECT_WEIGHT, ClipStore
from models.pocket.training.layout import PAST, Layout

JITTER = 0.1  # largest noise on clean latents, as what a model draws is never quite clean
OWN = 0.8  # share of clean chunks that are the network's own when a second step may have them
ABSOLUTE = 0.1  # share of absolute error beside the squared one: it keeps pulling where little is left to gain


@dataclass(frozen=True)
class Batch:
    """Hold one step's tensors; `layout` lies on the same device."""

    layout: Layout
    target: Tensor  # [B, SLOTS, C, CHUNK + K, h, w] float32
    weight: Tensor  # [B, SLOTS, 1, CHUNK + K, h, w]: nearness to the subject, 0 where nothing counts
    clean: Tensor  # [B, C, PAST * CHUNK, h, w]
    noisy: Tensor  # [B, SLOTS, C, CHUNK + K, h, w]
    captions: Tensor  # [B, 2, TEXT_LENGTH]


def coupled(noise: Tensor, bits: Tensor) -> Tensor:
    """Return `noise` [B, C, T, h, w] with channel i negated where its mean disagrees with bits[:, i] (±1)."""
    n = bits.shape[1]
    means = noise[:, :n].mean((2, 3, 4))
    signs = torch.where(means * bits < 0, -1.0, 1.0)
    return torch.cat([noise[:, :n] * signs[:, :, None, None, None], noise[:, n:]], 1)


def gather(store: ClipStore, layout: Layout, own: Tensor | None = None) -> Batch:
    """Return the batch of a layout on the store's device.

    `own`: what the network predicted for the same rows, [B, SLOTS, C, CHUNK + K, h, w]; most of the clean chunks are
    then these predictions.
    """
    row = layout.clip
    per_clip = store.latents[row]  # [B, C, LATENTS, h, w]; gathered once for past and present

    def at(latents: Tensor, where: Tensor) -> Tensor:
        """Return the latents [B, C, LATENTS, h, w] at places [B, S, n]: [B, S, C, n, h, w] float32."""
        index = where.flatten(1)[:, None, :, None, None].expand(-1, latents.shape[1], -1, *latents.shape[-2:])
        return latents.gather(2, index).float().unflatten(2, where.shape[1:]).transpose(1, 2)

    target = at(per_clip, layout.noisy_at)
    clean = at(per_clip, layout.clean_at)
    other = at(store.latents[layout.source], layout.noisy_at)
    source = torch.where(layout.sourced[:, None, None, None, None, None], other, target)
    if own is not None:
        chance = torch.rand(layout.own.shape, device=row.device) < OWN
        replaced = (layout.own & chance)[:, :, None, None, None, None]
        clean = torch.where(replaced, own[:, :PAST, :, :CHUNK], clean)
    jitter = JITTER * torch.rand(len(row), 1, 1, 1, 1, 1, device=row.device)
    clean = clean + jitter * torch.randn_like(clean)
    noise = torch.randn_like(target)
    agreeing = torch.cat([coupled(noise[:, 0, :, :CHUNK], store.bits[row]), noise[:, 0, :, CHUNK:]], 2)
    pure = (layout.sigma[:, :1] == 1)[:, :, None, None, None]
    noise = torch.cat([torch.where(pure, agreeing, noise[:, 0]).unsqueeze(1), noise[:, 1:]], 1)
    s = layout.sigma[:, :, None, None, None, None]
    noisy = (1 - s) * source + s * noise
    given = layout.given[:, :, None, :, None, None]
    noisy = torch.where(given, target + jitter * noise, noisy)
    near = store.near[row].unsqueeze(1)
    weight = (1 + SUBJECT_WEIGHT * at(near, layout.noisy_at)) * layout.counts[:, :, None, :, None, None]
    captions = store.captions[row[:, None], layout.prompts[..., 0], layout.prompts[..., 1]]
    return Batch(layout, target, weight, clean.transpose(1, 2).flatten(2, 3), noisy, captions)


def loss_of(prediction: Tensor, batch: Batch) -> Tensor:
    """Return the mean error of x0 over counted slots: heavier near the subject, lighter where noise hides more."""
    error = (prediction - batch.target).abs()
    slot = ((error.square() + ABSOLUTE * error) * batch.weight).mean(2)
    counted = batch.layout.counts.any(2)
    latents = batch.layout.counts.sum(2).clamp(min=1)
    per_slot = slot.mean((3, 4)).sum(2) / latents / (batch.layout.sigma + 0.15) ** 0.7
    return (per_slot * counted).sum() / counted.sum().clamp(min=1)
