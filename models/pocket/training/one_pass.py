"""Run the transformer over all chunks of a row at once: clean past and noised chunks stand in one sequence.

Equal to going chunk by chunk through a cache, as inference does: a token sees what it would see there, at the same
coordinates, and every product with a weight is that of the model's own modules. Only how tokens are stacked differs.
Inputs of linear layers follow autocast; the residual, norms and modulation are float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.pocket.training.attention import Sight, Tokens, Way, attend, attend_all
from models.pocket.training.layout import Layout
from models.pocket.training.network import embedded
from models.rope import THETA
from models.text.word_encoder import WordText
from models.transformer import CausalWanTransformer
from models.wan_network import WanAttention, WanTransformerBlock


class Turns(NamedTuple):
    """Hold cosine and sine [B, latents, tokens, 1, head_dim / 2] float32 of every token's rotation."""

    cos: Tensor
    sin: Tensor


def turned(turn: Turns, x: Tensor) -> Tensor:
    """Rotate [B, latents, tokens, heads, head_dim]; float32."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * turn.cos - odd * turn.sin, even * turn.sin + odd * turn.cos], -1).flatten(-2)


def turns(coordinates: Tensor, rows: int, columns: int, head_dim: int) -> Turns:
    """Return rotations of latents [B, n] at integer coordinates; the same angles as `models.rope.rotation`."""
    spatial = head_dim // 6
    temporal = head_dim // 2 - 2 * spatial

    def angles(positions: Tensor, pairs: int) -> Tensor:
        exponents = torch.arange(pairs, dtype=torch.float64, device=coordinates.device) / pairs
        return positions.double()[..., None] * THETA**-exponents

    time = angles(coordinates, temporal)[:, :, None].expand(-1, -1, rows * columns, -1)
    down = angles(torch.arange(rows, device=coordinates.device), spatial)[:, None].expand(-1, columns, -1)
    across = angles(torch.arange(columns, device=coordinates.device), spatial)[None].expand(rows, -1, -1)
    space = torch.cat([down, across], -1).flatten(0, 1)
    angle = torch.cat([time, space.expand(*time.shape[:2], -1, -1)], -1).unsqueeze(3)
    return Turns(angle.cos().float(), angle.sin().float())


class OnePass(nn.Module):
    """Run a transformer and its text encoder, which stay the modules that inference runs."""

    def __init__(self, transformer: CausalWanTransformer, text: WordText, way: Way = "written") -> None:
        super().__init__()
        self.transformer, self.text, self.way = transformer, text, way
        self._block: Callable[..., Tensor] = _block_pass

    def compile_blocks(self) -> None:
        """Compile a block once for all layers; shapes stay static."""
        self._block = torch.compile(_block_pass, dynamic=False)

    def forward(self, clean: Tensor, noisy: Tensor, layout: Layout, captions: Tensor) -> Tensor:
        """Return x0 of the noised chunks, [B, SLOTS, C, CHUNK + K, h, w] float32.

        clean [B, C, PAST * CHUNK, h, w]; noisy [B, SLOTS, C, CHUNK + K, h, w]; captions: token ids [B, 2, L].
        """
        net = self.transformer
        _, p, q = net.config.patch_size
        b, slots, _, length, height, width = noisy.shape
        heads, past = net.config.num_attention_heads, layout.sees_clean.shape[1]
        n_clean = clean.shape[2]
        chunk = n_clean // past
        latents = torch.cat([clean, noisy.transpose(1, 2).flatten(2, 3)], 2)  # [B, C, n, h, w]
        patches = latents.unflatten(-1, (-1, q)).unflatten(-3, (-1, p))  # [B, C, n, h/p, p, w/q, q]
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(2, 3).flatten(3)
        embedding = net.patch_embedding
        x = F.linear(patches, embedding.weight.flatten(1), embedding.bias).float()

        sigma = torch.cat([torch.zeros_like(layout.sigma[:, :1]), layout.sigma], 1)  # the clean ones first
        embedder = net.condition_embedder
        with torch.autocast(x.device.type, enabled=False):
            time = embedder.time_embedder(embedder.timesteps_proj((1000 * sigma).flatten()))
            modulation = embedder.time_proj(embedder.act_fn(time)).view(b, 1 + slots, 6, -1)
        of_clean = modulation[:, :1].expand(-1, n_clean, -1, -1)
        modulation = torch.cat([of_clean, modulation[:, 1:].repeat_interleave(length, 1)], 1)

        prompts = embedder.text_embedder(embedded(self.text, captions.flatten(0, 1))).unflatten(0, (b, -1))
        where = torch.cat(
            [
                (layout.base[:, :past, None] + torch.arange(chunk, device=x.device)).flatten(1),
                (layout.base[:, :, None] + torch.arange(length, device=x.device)).flatten(1),
            ],
            1,
        )
        turn = turns(where, height // p, width // q, net.config.attention_head_dim)
        sight = Sight.of(layout, x.shape[2])
        which_prompt = (layout.prompt_of_clean, layout.prompt_of_noisy)
        for block in net.blocks:
            x = self._block(block, x, modulation, turn, prompts, which_prompt, sight, self.way, heads)

        y = x[:, n_clean:]
        last = time.view(b, 1 + slots, -1)[:, 1:].repeat_interleave(length, 1).unsqueeze(2)
        shift, scale = (net.scale_shift_table.unsqueeze(1) + last).chunk(2, 2)
        out = net.proj_out(net.norm_out(y) * (1 + scale) + shift).float()
        out = out.view(b, slots, length, height // p, width // q, p, q, -1).permute(0, 1, 7, 2, 3, 5, 4, 6)
        return out.reshape(b, slots, -1, length, height, width)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1))


def _block_pass(
    block: WanTransformerBlock,
    x: Tensor,
    modulation: Tensor,
    turn: Turns,
    prompts: Tensor,
    which_prompt: tuple[Tensor, Tensor],
    sight: Sight,
    way: Way,
    heads: int,
) -> Tensor:
    """Run one block over [B, latents, tokens, width] float32; the same arithmetic as the model's own block."""
    table = block.scale_shift_table.unsqueeze(1) + modulation  # [B, latents, 6, width]
    shift, scale, gate, ff_shift, ff_scale, ff_gate = table.unsqueeze(3).unbind(2)
    past, slots = which_prompt[0].shape[1], which_prompt[1].shape[1]
    n_clean = sight.clean.shape[-1] // x.shape[2]

    def by_slot(t: Tensor) -> tuple[Tensor, Tensor]:
        """Split [B, latents, tokens, ...] into clean [B, PAST, tokens, ...] and noisy [B, SLOTS, tokens, ...]."""
        clean, noisy = t[:, :n_clean].flatten(1, 2), t[:, n_clean:].flatten(1, 2)
        return clean.unflatten(1, (past, -1)), noisy.unflatten(1, (slots, -1))

    def together(parts: tuple[Tensor, Tensor]) -> Tensor:
        """Undo `by_slot`, heads merged: [B, latents, tokens, width]."""
        whole = torch.cat([parts[0].flatten(1, 2), parts[1].flatten(1, 2)], 1).flatten(2)
        return whole.unflatten(1, (x.shape[1], -1))

    attention = block.attn1
    y = F.layer_norm(x, x.shape[-1:], eps=block.norm1.eps) * (1 + scale) + shift
    v = _heads(attention.to_v(y), heads)
    q = turned(turn, _heads(attention.norm_q(attention.to_q(y).float()), heads)).to(v.dtype)
    k = turned(turn, _heads(attention.norm_k(attention.to_k(y).float()), heads)).to(v.dtype)
    clean_q, noisy_q = by_slot(q)
    clean_k, noisy_k = by_slot(k)
    clean_v, noisy_v = by_slot(v)
    clean, noisy = Tokens(clean_q, clean_k, clean_v), Tokens(noisy_q, noisy_k, noisy_v)
    seen = together(attend(way, clean, noisy, sight))
    x = x + attention.to_out[0](seen).float() * gate

    x = x + _read_text(block.attn2, block.norm2(x), prompts, which_prompt, by_slot, together, heads, way).float()
    y = F.layer_norm(x, x.shape[-1:], eps=block.norm3.eps) * (1 + ff_scale) + ff_shift
    return x + block.ffn(y).float() * ff_gate


def _read_text(
    attention: WanAttention,
    y: Tensor,
    prompts: Tensor,
    which_prompt: tuple[Tensor, Tensor],
    by_slot: Callable[[Tensor], tuple[Tensor, Tensor]],
    together: Callable[[tuple[Tensor, Tensor]], Tensor],
    heads: int,
    way: Way,
) -> Tensor:
    """Attend from every slot to its prompt; `prompts` [B, 2, L, width]."""
    values = _heads(attention.to_v(prompts), heads)
    keys = _heads(attention.norm_k(attention.to_k(prompts).float()), heads).to(values.dtype)
    queries = by_slot(_heads(attention.norm_q(attention.to_q(y).float()), heads).to(values.dtype))

    def read(q: Tensor, which: Tensor) -> Tensor:
        second = which[:, :, None, None, None].bool()  # a choice of two: no gather, whose gradient would be slow
        k = torch.where(second, keys[:, 1:], keys[:, :1]).flatten(0, 1)
        v = torch.where(second, values[:, 1:], values[:, :1]).flatten(0, 1)
        return attend_all(way, q.flatten(0, 1), k, v).unflatten(0, q.shape[:2])

    return attention.to_out[0](together((read(queries[0], which_prompt[0]), read(queries[1], which_prompt[1]))))
