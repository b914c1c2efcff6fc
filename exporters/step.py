"""Express a step as one exportable module: what torch runs, with a cache that concatenates instead of writing.

    (latents, timestep, cos, sin, past keys and values, text keys and values, drive of a model that has one)
        → (prediction, new keys, new values)

The ring stays outside: what is visible of the past, anchors among it, comes in rotated (an anchor is rotated once a
chunk, where an input of its own would be rotated at every step); new keys go out before rotation, as a sink needs them.
Queries and past are dynamic, so a chunk, a chunk with a knot and a recache are the same graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.cache_protocol import KeysValues, Visible
from models.driving_signal import TOKENS
from models.rope import Rotation
from models.transformer import CausalWanTransformer, TextState

OUTPUTS = ("prediction", "new_keys", "new_values")


class ConcatenatingCache:
    """Take the past as an input and collect new keys and values as an output."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values  # [layers, P, heads, d]
        self.new: list[KeysValues] = []

    def extend(self, layer: int, key: Tensor, value: Tensor, rotation: Rotation) -> Visible:
        """Return the layer's past with the new keys and values behind it, [1, P + Q, heads, d]."""
        self.new.append((key, value))
        keys = torch.cat([self.keys[layer : layer + 1], rotation(key)], 1)
        return Visible(keys, torch.cat([self.values[layer : layer + 1], value], 1))


class Step(nn.Module):
    """Run one forward pass of the transformer as a function of tensors alone."""

    def __init__(self, transformer: CausalWanTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        cos: Tensor,
        sin: Tensor,
        past_keys: Tensor,
        past_values: Tensor,
        text_keys: Tensor,
        text_values: Tensor,
        drive: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the prediction [1, C, F, h, w], new keys (not rotated) and new values [layers, Q, heads, d].

        latents [1, C, F, h, w]; timestep [1]; cos, sin [Q, 1, d/2] float32; past [layers, P, heads, d]; text
        [layers, T, heads, d]; drive [1, F, tokens, features].
        """
        layers = tuple((text_keys[i : i + 1], text_values[i : i + 1]) for i in range(len(self.transformer.blocks)))
        cache = ConcatenatingCache(past_keys, past_values)
        text = TextState(text_keys, layers)  # a step reads keys and values only
        prediction = self.transformer(latents, timestep, text, Rotation(cos, sin), cache, drive=drive)
        keys, values = zip(*cache.new, strict=True)
        return prediction, torch.cat(keys), torch.cat(values)


def example_inputs(
    transformer: CausalWanTransformer, cells: tuple[int, int], latents: int, past: int, text: int
) -> dict[str, Tensor]:
    """Return random inputs of a step over `latents` latents of `cells` (h, w) with `past` tokens behind them."""
    c = transformer.config
    _, ph, pw = c.patch_size
    queries = latents * (cells[0] // ph) * (cells[1] // pw)
    make = torch.Generator().manual_seed(0)
    dtype, device = transformer.dtype, transformer.device

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=make).to(device, dtype)

    angles = torch.rand((queries, 1, c.attention_head_dim // 2), generator=make).to(device) * 6
    keys = (c.num_layers, past, c.num_attention_heads, c.attention_head_dim)
    words = (c.num_layers, text, *keys[2:])
    attention = transformer.driving_attention
    drive = {} if attention is None else {"drive": normal(1, latents, TOKENS, attention.features)}
    inputs = {
        "latents": normal(1, c.in_channels, latents, *cells),
        "timestep": torch.full((1,), 500.0, device=device),
        "cos": angles.cos(),
        "sin": angles.sin(),
        "past_keys": normal(*keys),
        "past_values": normal(*keys),
        "text_keys": normal(*words),
        "text_values": normal(*words),
    }
    return inputs | drive
