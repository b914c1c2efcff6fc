"""Separate an avatar's face from what is behind it, and lay it on a colour.

A small network estimates for each pixel how much of it the person covers (alpha). At the edges, where a pixel shows
both, the person's colour is estimated from the neighbourhood (blur fusion, Forte 2021, "Approximate Fast Foreground
Colour Estimation"), so that no rim of the old ground is left.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

Frames = NDArray[np.uint8]  # [n, H, W, 3] RGB
Floats = NDArray[np.float32]

SIDE = 128  # pixels: the network works at this size
WIDTHS = (12, 24, 40, 64)  # channels at a half, a quarter, an eighth and a sixteenth of SIDE
BATCH = 12  # frames that the network is given at a time
REACH = (15, 5)  # pixels at SIDE: sides of the neighbourhoods of the first and the second estimate of colours
CLEAR, SOLID = 0.06, 0.94  # alpha below and above which a pixel is taken for the ground or the person alone
OUTLINE = 9  # pixels at SIDE: side of the neighbourhoods whose colours are compared
DISTINCT = 24  # of 255
COLOUR = re.compile(r"#[0-9a-f]{6}")


class MatteNetwork(nn.Module):
    """Estimate the alpha of pictures [B, 3, 128, 128] in 0…1: [B, 128, 128], not limited to 0…1."""

    def __init__(self) -> None:
        """Build the network, with random weights; it has 0.2 million of them."""
        super().__init__()
        self.enter = _block(12, WIDTHS[0])
        self.down = nn.ModuleList(_block(a, b, stride=2) for a, b in itertools.pairwise(WIDTHS))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in itertools.pairwise(WIDTHS))
        self.leave = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the alpha of each pixel."""
        levels = [self.enter(F.pixel_unshuffle(pictures - 0.5, 2))]
        for step in self.down:
            levels.append(step(levels[-1]))
        x = levels.pop()
        for step, fine in zip(reversed(self.up), reversed(levels), strict=True):
            x = step(torch.cat([fine, F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        return 0.5 + F.pixel_shuffle(self.leave(x), 2)[:, 0]


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1),
        nn.GroupNorm(4, after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.ReLU(),
    )


@torch.inference_mode()
def alpha_of(network: MatteNetwork, frames: Frames) -> Floats:
    """Return how much of each pixel of frames [n, H, W, 3] the person covers: [n, H, W] in 0…1."""
    (height, width), own = frames.shape[1:3], frames.shape[1:3] == (SIDE, SIDE)
    small = frames if own else np.stack([cv2.resize(f, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for f in frames])
    pictures = torch.tensor(small).permute(0, 3, 1, 2).float() / 255
    alpha = torch.cat([network(part) for part in pictures.split(BATCH)]).numpy()
    alpha = ((alpha - CLEAR) / (SOLID - CLEAR)).clip(0, 1)
    return alpha if own else np.stack([cv2.resize(one, (width, height)) for one in alpha])


def person_of(frame: Frames, alpha: Floats) -> Floats:
    """Return the person's own colours [H, W, 3] in 0…255 where a frame [H, W, 3] shows the person with `alpha`."""
    seen, share = frame.astype(np.float32), alpha[..., None]
    person = ground = seen
    for reach in REACH:
        side = max(3, round(reach * frame.shape[1] / SIDE) | 1)
        covered = cv2.blur(alpha, (side, side))[..., None]
        person = cv2.blur(person * share, (side, side)) / (covered + 1e-5)
        ground = cv2.blur(ground * (1 - share), (side, side)) / (1 - covered + 1e-5)
        person = (person + share * (seen - share * person - (1 - share) * ground)).clip(0, 255)
    return person


def cut_out(network: MatteNetwork, frame: Frames) -> Frames:
    """Return a frame [H, W, 3] with nothing behind the person: [H, W, 4] RGB and alpha, not multiplied by it."""
    alpha = alpha_of(network, frame[None])[0]
    return np.concatenate([person_of(frame, alpha), 255 * alpha[..., None]], -1).round().astype(np.uint8)


@dataclass(frozen=True)
class Ground:
    """Put a colour behind the faces of a film."""

    network: MatteNetwork
    colour: tuple[int, int, int]  # RGB
    faces: int = 1  # that stand side by side in a frame

    def behind(self, frames: Frames) -> Frames:
        """Return frames [n, H, faces · W, 3] with the colour behind the faces."""
        return np.concatenate([self._behind(face) for face in np.split(frames, self.faces, 2)], 2)

    def _behind(self, frames: Frames) -> Frames:
        if not len(frames):
            return frames
        alphas = alpha_of(self.network, frames)
        colour = np.array(self.colour, np.float32)
        laid = [
            colour + alpha[..., None] * (person_of(frame, alpha) - colour)
            for frame, alpha in zip(frames, alphas, strict=True)
        ]
        return np.stack(laid).round().clip(0, 255).astype(np.uint8)


def rgb_of(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour such as `#00b140`; ValueError for another text."""
    if not COLOUR.fullmatch(colour):
        raise ValueError(f"{colour[:40]!r} is no colour such as #00b140")
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def separable(frame: Frames, alpha: Floats) -> bool:
    """Return whether an alpha [H, W] of a frame [H, W, 3] is that of one person in front of a ground.

    The ground reaches both upper corners, and the colours of both differ along at least half of the outline: the
    network draws the outline of a person into any picture. Measured at the outline, as the median of the largest
    difference of red, green and blue: 29 to 131 for faces of the world on its backdrops, 0 to 20 without anybody.
    """
    height, width = alpha.shape
    corners = max(float(alpha[: height // 8, part].mean()) for part in (slice(width // 10), slice(-width // 10, None)))
    middle = float(alpha[height // 3 : 2 * height // 3, 2 * width // 5 : 3 * width // 5].mean())
    side = round(OUTLINE * width / SIDE) | 1
    seen, share, covered = frame.astype(np.float32), alpha[..., None], cv2.blur(alpha, (side, side))[..., None]
    person = cv2.blur(seen * share, (side, side)) / (covered + 1e-5)
    ground = cv2.blur(seen * (1 - share), (side, side)) / (1 - covered + 1e-5)
    outline = (covered[..., 0] > 0.25) & (covered[..., 0] < 0.75)
    if corners > 0.2 or middle < 0.9 or not outline.any():
        return False
    return float(np.median(np.abs(person - ground).max(-1)[outline])) > DISTINCT
