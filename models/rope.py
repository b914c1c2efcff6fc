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


def rotation(coordinates: Sequence[float], height: int, width: int, head_dim: int, device: torch.device) -> Rotation:
    """Return the rotation of latents of height x width tokens at `coordinates` (temporal index, any number).

    It is computed on the device, from numbers that are handed over with each operation: a copy would be waited for.
    """
    spatial_pairs = head_dim // 6
    temporal_pairs = head_dim // 2 - 2 * spatial_pairs
    frequencies, n, tokens = _frequencies(temporal_pairs, device), len(coordinates), height * width
    angles = torch.stack([coordinate * frequencies for coordinate in coordinates])[:, None]
    cos, sin = (
        torch.cat([t.float().expand(n, tokens, -1), fixed.expand(n, -1, -1)], -1).view(n * tokens, 1, head_dim // 2)
        for t, fixed in zip((angles.cos(), angles.sin()), _spatial(height, width, spatial_pairs, device), strict=True)
    )
    return Rotation(cos, sin)


@lru_cache(maxsize=16)
def _frequencies(pairs: int, device: torch.device) -> Tensor:
    """Return the angles [pairs] of coordinate 1, float64."""
    return THETA ** (-torch.arange(pairs, dtype=torch.float64, device=device) / pairs)


@lru_cache(maxsize=8)
def _spatial(height: int, width: int, pairs: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of rows and columns, each [height · width, 2 · pairs] float32."""
    frequencies = _frequencies(pairs, device)
    rows, columns = (
        torch.arange(n, dtype=torch.float64, device=device)[:, None] * frequencies for n in (height, width)
    )
    both = rows[:, None].expand(height, width, pairs), columns[None].expand(height, width, pairs)
    angles = torch.cat(both, -1).flatten(0, 1)
    return angles.cos().float(), angles.sin().float()
