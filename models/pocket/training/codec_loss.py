"""Measure a codec's picture in training: errors, edges, sharpness, and how motion is spread over frames.

Every term is relative to how bright the place is, because the eye sees a step of 10 grey levels by night that it does
not see by day.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EDGES = 1.0  # weight of the error's gradient
COARSE = 0.5  # weight of the error at half and at a quarter of the size
SHARPNESS = 1.0  # weight of how far the local gradient energy is from the true one
FLOW = 1.0  # weight of the error's change from frame to frame
EVEN = 0.15  # weight of how unevenly motion is spread over frames
STILL = 0.005  # mean change of a pixel, of 1, below which a frame moves no more than noise does
DARK = 0.25  # luminance at which an error counts once; at 0 it counts (DARK + 0.3) / DARK times as much as at 0.3


def picture_loss(out: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the loss of frames [B, T, 3, H, W] against true ones in 0..1; weight [B, T, H, W] says what counts."""
    bright = F.avg_pool2d(target.mean(2), 9, 1, 4, count_include_pad=False)
    w = (weight * (DARK + 0.3) / (DARK + bright)).unsqueeze(2)
    error = (out - target) * w
    loss = error.abs().mean() + 2 * (error * (out - target)).mean()
    loss = loss + EDGES * (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())
    half = F.avg_pool2d(error.flatten(0, 1), 2)
    loss = loss + COARSE * (half.abs().mean() + F.avg_pool2d(half, 2).abs().mean())
    loss = loss + SHARPNESS * ((_energy(out) - _energy(target)).abs() * F.avg_pool2d(w.squeeze(2), 4)).mean()
    # else motion comes in jumps, one a latent: frames amid them are cheap to leave as they are
    loss = loss + FLOW * error.diff(dim=1).abs().mean()
    # where it is not known which of four frames a thing moved in, the least error is to move nothing in most of them
    made, true = ((v.diff(dim=1) * weight[:, 1:].unsqueeze(2)).abs().mean((2, 3, 4)) for v in (out, target))
    return loss + EVEN * ((made - true).abs() / (true + STILL)).mean()


def _energy(video: Tensor) -> Tensor:
    """Return the root mean square gradient of blocks of 4 x 4 pixels, [B, T, H / 4, W / 4]."""
    across, down = video.diff(dim=-1).square().mean(2), video.diff(dim=-2).square().mean(2)
    return (F.avg_pool2d(F.pad(across, (0, 1)) + F.pad(down, (0, 0, 0, 1)), 4) + 1e-5).sqrt()


class PatchDiscriminator(nn.Module):
    """Tell patches of true frames from decoded ones: frames [N, 3, H, W] in 0..1 → logits [N, 1, H / 8, W / 8].

    Spectral normalisation (1802.05957) bounds its slope; trained with the hinge loss.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(before, after, 4, 2, 1)), nn.LeakyReLU(0.2)]
        layers.append(nn.utils.parametrizations.spectral_norm(nn.Conv2d(4 * width, 1, 3, 1, 1)))
        self.layers = nn.Sequential(*layers)

    def forward(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.layers(4 * (frames - 0.5))
        return logits


class Adversary:
    """Hold a discriminator, its optimiser, and the push that it adds to a decoder's gradient.

    The push is scaled to a share of the picture loss's gradient, so that neither needs to be tuned to the other.
    """

    def __init__(self, device: torch.device, share: float, per_clip: int = 4) -> None:
        self.net = PatchDiscriminator().to(device)
        self._share, self._per_clip = share, per_clip
        self._optim = torch.optim.Adam(self.net.parameters(), 4e-4, betas=(0.5, 0.95))

    def gradient(self, out: Tensor, target: Tensor, picture: Tensor, strength: float) -> Tensor:
        """Return the gradient with respect to frames `out` [B, T, 3, H, W]; train the discriminator by one step.

        `picture` is the gradient of the picture loss; `strength` in 0..1 fades the push in.
        """
        step = max(1, out.shape[1] // self._per_clip)
        made, true = (v.detach()[:, ::step].flatten(0, 1) for v in (out, target))
        self.net.requires_grad_(requires_grad=False)
        leaf = made.clone().requires_grad_()
        with torch.autocast(out.device.type, torch.bfloat16):
            seen = self.net(leaf)
        (push,) = torch.autograd.grad(-seen.float().mean(), leaf)
        scale = strength * self._share * picture[:, ::step].norm() / (push.norm() + 1e-12)
        pushed = picture.clone()
        pushed[:, ::step] += scale * push.unflatten(0, (out.shape[0], -1))
        self.net.requires_grad_(requires_grad=True)
        with torch.autocast(out.device.type, torch.bfloat16):
            loss = F.relu(1 - self.net(true)).mean() + F.relu(1 + self.net(made)).mean()
        self._optim.zero_grad(set_to_none=True)
        loss.backward()
        self._optim.step()
        return pushed
