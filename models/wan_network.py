"""Declare the modules of Wan's video transformer, with the names and shapes of diffusers' `WanTransformer3DModel`.

Weights, configurations and LoRA key styles made for that class therefore fit (a test compares the two). The modules are
declared here because importing diffusers' transformer takes seconds and only its declarations were used: how a pass
runs, with a cache and explicit coordinates, is `models.transformer`. Wan 2.1: arXiv 2503.20314.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class WanConfig:
    """Hold the settings of a Wan transformer; names are those of diffusers' configuration files."""

    patch_size: tuple[int, int, int]  # latents, rows and columns of latent cells that become a token
    num_attention_heads: int
    attention_head_dim: int
    in_channels: int
    out_channels: int
    text_dim: int  # width of text embeddings
    freq_dim: int  # width of the sinusoid of a timestep, even
    ffn_dim: int
    num_layers: int
    cross_attn_norm: bool  # whether tokens are normalised before they read the text
    eps: float = 1e-6

    @property
    def width(self) -> int:
        """Return the features of a token."""
        return self.num_attention_heads * self.attention_head_dim


class FloatLayerNorm(nn.LayerNorm):
    """Normalise in float32, whatever the type of the weights; the result has the type of the input."""

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class WanAttention(nn.Module):
    """Hold the projections of an attention; queries and keys are normalised over the full width before the heads."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])
        self.norm_q, self.norm_k = nn.RMSNorm(width, eps=eps), nn.RMSNorm(width, eps=eps)


class GeluProjection(nn.Module):
    """Project and apply GELU by its tanh approximation."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Widen, apply GELU, narrow; the place between is empty, as weight names count it."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GeluProjection(width, hidden), nn.Identity(), nn.Linear(hidden, width)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class WanTransformerBlock(nn.Module):
    """Hold self-attention, attention to the text and a feed-forward network; `scale_shift_table` modulates them."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        width, heads, eps = config.width, config.num_attention_heads, config.eps
        self.norm1 = FloatLayerNorm(width, eps, elementwise_affine=False)
        self.attn1 = WanAttention(width, heads, eps)
        self.attn2 = WanAttention(width, heads, eps)
        self.norm2 = FloatLayerNorm(width, eps) if config.cross_attn_norm else nn.Identity()
        self.ffn = FeedForward(width, config.ffn_dim)
        self.norm3 = FloatLayerNorm(width, eps, elementwise_affine=False)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 6, width) / width**0.5)


class Sinusoid(nn.Module):
    """Embed timesteps [N] as [N, width] float32: cosines, then sines, of frequencies from 1 down to almost 1e-4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = width // 2

    def forward(self, timesteps: Tensor) -> Tensor:
        counts = torch.arange(self.pairs, dtype=torch.float32, device=timesteps.device)
        angles = timesteps[:, None].float() * torch.exp(-math.log(10000) * counts / self.pairs)
        return torch.cat([torch.cos(angles), torch.sin(angles)], -1)


class TimeEmbedding(nn.Module):
    """Map the sinusoid of a timestep [N, freq_dim] to the width of tokens."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, sinusoid: Tensor) -> Tensor:
        out: Tensor = self.linear_2(F.silu(self.linear_1(sinusoid)))
        return out


class TextProjection(nn.Module):
    """Map text embeddings [N, L, text_dim] to the width of tokens."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(features, width), nn.Linear(width, width)

    def forward(self, text: Tensor) -> Tensor:
        out: Tensor = self.linear_2(F.gelu(self.linear_1(text), approximate="tanh"))
        return out


class ConditionEmbedder(nn.Module):
    """Embed what a pass is conditioned on: its timestep, and the text once a prompt."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.timesteps_proj = Sinusoid(config.freq_dim)
        self.time_embedder = TimeEmbedding(config.freq_dim, config.width)
        self.act_fn = nn.SiLU()
        self.time_proj = nn.Linear(config.width, 6 * config.width)
        self.text_embedder = TextProjection(config.text_dim, config.width)


class WanNetwork(nn.Module):
    """Hold a Wan transformer's modules; `models.transformer` runs them."""

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        patch = config.patch_size
        self.patch_embedding = nn.Conv3d(config.in_channels, config.width, kernel_size=patch, stride=patch)
        self.condition_embedder = ConditionEmbedder(config)
        self.blocks = nn.ModuleList(WanTransformerBlock(config) for _ in range(config.num_layers))
        self.norm_out = FloatLayerNorm(config.width, config.eps, elementwise_affine=False)
        self.proj_out = nn.Linear(config.width, config.out_channels * math.prod(patch))
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, config.width) / config.width**0.5)

    def layers(self) -> Iterator[WanTransformerBlock]:
        """Iterate over the blocks, the first one first."""
        for block in self.blocks:
            assert isinstance(block, WanTransformerBlock)
            yield block

    @property
    def device(self) -> torch.device:
        """Return where the weights lie."""
        return self.proj_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the weights."""
        return self.proj_out.weight.dtype
