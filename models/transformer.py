"""Walk Wan's network block by block with a key/value cache: the causal video transformer.

Modules, names and arithmetic are those of diffusers' `WanTransformer3DModel`, so that weights, configurations and LoRAs
made for it fit. Only the loop differs: keys and values of latents that are already clean come from a cache, and
rotations from explicit temporal coordinates. Reference behaviour: LongLive (2509.22622), Self-Forcing (2506.08009).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from models.attention import attend
from models.block_offload import OffloadedBlocks
from models.cache_protocol import Cache, EngineCache, KeysValues
from models.driving_attention import DrivingAttention
from models.rope import Rotation, rotated
from models.text.padding import kept_positions, padding_bias
from models.wan_network import FloatLayerNorm, WanAttention, WanConfig, WanNetwork, WanTransformerBlock


@dataclass(frozen=True)
class TextState:
    """Hold a prompt for attention: embeddings [1, L, text_dim]; keys and values of each layer [1, K, heads, d].

    Of L positions the first K have keys; where K < L, the rest is padding, for which the last of these keys stand
    (`models.text.padding`). The values are already multiplied by the factors of `emphasis`, [1, L] float32; None where
    nothing is emphasised.
    """

    embeddings: Tensor
    layers: tuple[KeysValues, ...]
    emphasis: Tensor | None = None

    @property
    def bias(self) -> Tensor | None:
        """Return what is added to the logits of the K keys, [K] of their type; None where each stands for itself."""
        length, (keys, _) = self.embeddings.shape[1], self.layers[0]
        kept = keys.shape[1]
        return None if kept == length else padding_bias(length, kept, keys.dtype, keys.device)

    def in_full(self) -> TextState:
        """Return the prompt with keys and values of all L positions, for an engine that has room for just as many."""
        missing = self.embeddings.shape[1] - self.layers[0][0].shape[1]
        layers = tuple(
            (
                torch.cat([k, k[:, -1:].expand(-1, missing, -1, -1)], 1),
                torch.cat([v, v[:, -1:].expand(-1, missing, -1, -1)], 1),
            )
            for k, v in self.layers
        )
        return replace(self, layers=layers)

    def repeated(self, rows: int) -> TextState:
        """Return the prompt for `rows` rows of a pass, whose tensors share memory."""
        layers = tuple((k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in self.layers)
        return TextState(self.embeddings, layers, self.emphasis)


class Transformer(Protocol):
    """Run one step for a generator: the module below, or an engine that stands for it."""

    config: WanConfig

    @property
    def device(self) -> torch.device:
        """Return where steps run."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of latents that a step takes."""
        ...

    @property
    def driving_attention(self) -> DrivingAttention | None:
        """Return the attention to driving tokens; None in a model that is not driven."""
        ...

    def embed_text(self, embeddings: Tensor) -> TextState:
        """Return keys and values of every layer for text embeddings [N, L, text_dim], padding zero."""
        ...

    def __call__(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextState,
        rotation: Rotation,
        cache: EngineCache,
        *,
        drive: Tensor | None = None,
        head: bool = True,
    ) -> Tensor | None:
        """Run one step; see `CausalWanTransformer.forward`."""
        ...


class CausalWanTransformer(WanNetwork):
    """Extend a cache in the forward pass instead of seeing a whole clip.

    In a model with one channel more in than out, the last says which latents are given (1) and which not (0).
    """

    def __init__(self, **settings: Any) -> None:
        """Build a network of random weights; settings are those of `WanConfig`, TypeError for others."""
        super().__init__(WanConfig(**settings))
        self._offloaded: OffloadedBlocks[WanTransformerBlock] | None = None

    def add_driving_attention(self, features: int) -> None:
        """Add attention to driving tokens of `features` features, so that the model can be driven."""
        c = self.config
        width = c.num_attention_heads * c.attention_head_dim
        # the attribute is the prefix of these weights in files
        self.drive_attention = DrivingAttention(c.num_layers, width, c.num_attention_heads, features)

    @property
    def driving_attention(self) -> DrivingAttention | None:
        """Return the attention to driving tokens; None in a model that is not driven."""
        found = self._modules.get("drive_attention")
        return found if isinstance(found, DrivingAttention) else None

    _before_attention = staticmethod(lambda *inputs: _before_attention(*inputs))
    _before_text = staticmethod(lambda *inputs: _before_text(*inputs))
    _after_text = staticmethod(lambda *inputs: _after_text(*inputs))
    _turn = staticmethod(rotated)

    @property
    def compiled(self) -> bool:
        """Return whether blocks are compiled."""
        return "_before_attention" in vars(self)

    def compile_blocks(self) -> None:
        """Compile what lies before, between and after the two attentions of a block, once for all blocks.

        Lengths are variables of the compiled code, so that chunks, recaches and first chunks share it. Both attentions
        stay out of it: their kernels are chosen by what they are given, and a prompt may be of any length.
        """
        self._before_attention = torch.compile(_before_attention, dynamic=True)
        self._before_text = torch.compile(_before_text, dynamic=True)
        self._after_text = torch.compile(_after_text, dynamic=True)
        self._turn = torch.compile(rotated, dynamic=True)

    def leave_blocks_uncompiled(self) -> None:
        """Take `compile_blocks` back, as where the compiler fails."""
        for name in ("_before_attention", "_before_text", "_after_text", "_turn"):
            vars(self).pop(name, None)

    def offload_blocks(self, device: torch.device) -> None:
        """Move all but the blocks to a device; their weights stay in the host's memory, and come there in turns."""
        for name, child in self.named_children():
            if name != "blocks":
                child.to(device)
        self.scale_shift_table.data = self.scale_shift_table.data.to(device)
        self._offloaded = OffloadedBlocks(list(super().layers()), device)

    def layers(self) -> Iterator[WanTransformerBlock]:
        """Iterate over the blocks, the first one first; each has its weights on the device during its turn."""
        return super().layers() if self._offloaded is None else iter(self._offloaded)

    def embed_text(self, embeddings: Tensor) -> TextState:
        """Return keys and values of every layer for text embeddings [N, L, text_dim]; needed once a prompt.

        Positions that are padding in all rows share a few keys.
        """
        text = self.condition_embedder.text_embedder(embeddings[:, : kept_positions(embeddings)])
        return TextState(embeddings, tuple(_text_keys_values(block.attn2, text) for block in self.layers()))

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        text: TextState,
        rotation: Rotation,
        cache: Cache,
        *,
        drive: Tensor | None = None,
        head: bool = True,
    ) -> Tensor | None:
        """Return the prediction [N, C_out, F, h, w] of one step; None without `head`.

        latents [N, C, F, h, w]; timestep [N] float in 0..1000, or [N, F], one for each latent; rotation of the
        F·h·w/patch tokens; drive [N, F, T, features], for a model that is driven. A pass without `head` only fills the
        cache, and stops after the last layer's keys and values.
        """
        n, _, frames, height, width = latents.shape
        x = self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()
        embedder = self.condition_embedder
        sinusoid = embedder.timesteps_proj(timestep.flatten()).to(embedder.time_embedder.linear_1.weight.dtype)
        time = embedder.time_embedder(sinusoid).to(x.dtype)
        modulation = embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))
        if timestep.ndim > 1:
            time, modulation = (t.unflatten(0, timestep.shape) for t in (time, modulation))

        reader = self.driving_attention if drive is not None else None
        driven = None if reader is None or drive is None else reader.embed(drive.to(x.dtype))
        last, bias, turn = len(self.blocks) - 1, text.bias, replace(rotation, turn=self._turn)
        for layer, block in enumerate(self.layers()):
            q, k, v = self._before_attention(block, x, modulation, rotation.cos, rotation.sin)
            visible = cache.extend(layer, k, v, turn)
            if layer == last and not head:
                return None
            seen = attend(q, visible.keys, visible.values, visible.lengths)
            x, q = self._before_text(block, x, seen, modulation)
            x = self._after_text(block, x, attend(q, *text.layers[layer], bias=bias), modulation)
            if reader is not None:
                x = x + reader(layer, x, driven)

        shift, scale = (self.scale_shift_table + time.unsqueeze(-2)).chunk(2, -2)
        x = self.proj_out(_normalised(self.norm_out, x, scale, shift))
        pt, ph, pw = self.config.patch_size
        x = x.reshape(n, frames // pt, height // ph, width // pw, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return x.reshape(n, -1, frames, height, width)


def masks(transformer: Transformer) -> bool:
    """Return whether a model has a channel that says which of its latents are given."""
    return transformer.config.in_channels == transformer.config.out_channels + 1


def with_mask(transformer: Transformer, latents: Tensor, given: int) -> Tensor:
    """Return latents [N, C, F, h, w] in the network's type, with its mask channel if it has one.

    The mask is 1 in the first `given` latents and 0 in the others.
    """
    if masks(transformer):
        mask = torch.zeros_like(latents[:, :1])
        mask[:, :, :given] = 1
        latents = torch.cat([latents, mask], 1)
    return latents.to(transformer.dtype)


def _heads(attention: WanAttention, x: Tensor) -> Tensor:
    return x.unflatten(2, (attention.heads, -1))


def _before_attention(
    block: WanTransformerBlock, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rotated queries, keys (not rotated; both normalised over the full width before the heads) and values."""
    attention = block.attn1
    shift, scale = (block.scale_shift_table + modulation.float())[..., :2, :].chunk(2, -2)
    y = _normalised(block.norm1, x, scale, shift)
    q, k = attention.norm_q(attention.to_q(y)), attention.norm_k(attention.to_k(y))
    return rotated(_heads(attention, q), cos, sin), _heads(attention, k), _heads(attention, attention.to_v(y))


def _before_text(block: WanTransformerBlock, x: Tensor, seen: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
    """Return tokens with what self-attention has seen, and their queries to the text."""
    gate = (block.scale_shift_table + modulation.float())[..., 2:3, :]
    x = _with_gated(x, block.attn1.to_out[0](seen.flatten(2)), gate)
    attention = block.attn2
    return x, _heads(attention, attention.norm_q(attention.to_q(block.norm2(x.float()).type_as(x))))


def _after_text(block: WanTransformerBlock, x: Tensor, read: Tensor, modulation: Tensor) -> Tensor:
    """Return what a block makes of tokens that have read the text, padding included (Wan was trained so)."""
    shift, scale, gate = (block.scale_shift_table + modulation.float())[..., 3:, :].chunk(3, -2)
    x = x + block.attn2.to_out[0](read.flatten(2))
    return _with_gated(x, block.ffn(_normalised(block.norm3, x, scale, shift)), gate)


def _normalised(norm: FloatLayerNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise tokens [N, L, D] in float32, then scale and shift them by [1, 1, D], or by [N, F, 1, D] a latent."""
    if scale.shape[:-1].numel() == 1:  # in one pass over the tokens
        return F.layer_norm(
            x.float(), x.shape[-1:], 1 + scale.flatten().float(), shift.flatten().float(), norm.eps
        ).type_as(x)
    y = norm(x.float())
    if scale.ndim == 3:
        return torch.addcmul(shift, y, 1 + scale).type_as(x)
    return torch.addcmul(shift, y.unflatten(1, (scale.shape[1], -1)), 1 + scale).flatten(1, 2).type_as(x)


def _with_gated(x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
    """Add to tokens x [N, L, D] the tokens y times a gate [N, 1, D], or [N, F, 1, D], one for each latent."""
    if gate.ndim == 3:
        return torch.addcmul(x.float(), y.float(), gate).type_as(x)
    latents = (gate.shape[1], -1)
    sums = torch.addcmul(x.float().unflatten(1, latents), y.float().unflatten(1, latents), gate)
    return sums.flatten(1, 2).type_as(x)


def _text_keys_values(attention: WanAttention, text: Tensor) -> KeysValues:
    return _heads(attention, attention.norm_k(attention.to_k(text))), _heads(attention, attention.to_v(text))
