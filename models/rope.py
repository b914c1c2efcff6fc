"""Rotate queries and keys by position in three axes (temporal, vertical, horizontal), as Wan does.

Angles come from the coordinate itself in float64, never from a table, so a coordinate has no upper limit and
attention between two tokens depends on nothing but the difference of their coordinates.
Rotation: RoFormer (2104.09864), interleaved pairs; axis split h = w = 2·(d // 6), t = the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

THETA = 10_000.0


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [B, tokens, heads, head_dim]; the arithmetic is float32, the result has x's dtype."""
    # one pass over memory instead of seven; compilers and exporters fuse the real one, and know no complex numbers
    if x.is_cpu and not x.requires_grad and not torch.compiler.is_compiling():
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * torch.complex(cos, sin)).flatten(-2).to(x.dtype)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
    return turned.flatten(-2).to(x.dtype)


@dataclass(frozen=True)
class Rotation:
    """Hold cosine and sine for a run of tokens, each [tokens, 1, head_dim / 2] float32, or [B, …] one for each row.

    `turn` computes what `rotated` does.
    """

    cos: Tensor
    sin: Tensor
    turn: Callable[[Tensor, Tensor, Tensor], Tensor] = rotated

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate [B, tokens, heads, head_dim]; the result has x's dtype."""
        return self.turn(x, self.cos, self.sin)


def _angles(positions: Tensor, pairs: int) -> Tensor:
    """Return the angles [n, pairs] of positions [n], both float64."""
    frequencies = THETA ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    return positions[:, None] * frequencies[None]


@lru_cache(maxsize=8)
def _spatial(height: int, width: int, pairs: int) -> Tensor:
    rows = _angles(torch.arange(height, dtype=torch.float64), pairs)[:, None].expand(height, width, pairs)
    columns = _angles(torch.arange(width, dtype=torch.float64), pairs)[None].expand(height, width, pairs)
    return torch.cat([rows, columns], -1).reshape(height * width, 2 * pairs)


def rotation(coordinates: Sequence[float], height: int, width: int, head_dim: int, device: torch.device) -> Rotation:
    """Return the rotation of latents of height x width tokens at `coordinates` (temporal index, any number)."""
    spatial_pairs = head_dim // 6
    spatial = _spatial(height, width, spatial_pairs)
    temporal = _angles(torch.tensor(coordinates, dtype=torch.float64), head_dim // 2 - 2 * spatial_pairs)
    n, tokens = len(coordinates), height * width
    angles = torch.cat(
        [temporal[:, None].expand(n, tokens, -1), spatial[None].expand(n, tokens, 2 * spatial_pairs)], -1
    ).reshape(n * tokens, 1, head_dim // 2)
    return Rotation(angles.cos().float().to(device), angles.sin().float().to(device))
