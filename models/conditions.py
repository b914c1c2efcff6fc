"""Give a take latents that it does not draw: a prefix that it goes on behind, an image that it stays true to."""

from __future__ import annotations

import torch
from torch import Tensor

from models.codecs.codec import Codec
from models.cue import CueError, Reference
from models.recache import commit, write_cache
from models.rollout_config import RolloutConfig
from models.state import TakeState
from models.transformer import Transformer


def prefill(
    config: RolloutConfig, transformer: Transformer, state: TakeState, latents: Tensor, drive: Tensor | None = None
) -> None:
    """Begin a take with clean latents [batch, C, F, h, w], committed chunk by chunk under the prompt that holds.

    `drive` [batch, F, T, features] is what moved them. CueError if they are not whole chunks, if there is no prompt, or
    if something has been drawn already.
    """
    grid, stop = config.grid, state.index + latents.shape[2]
    if state.index != state.prefix:
        raise CueError("a prefix stands at the start of a take, and this one has begun")
    if state.text is None:
        raise CueError("a take needs a prompt before its prefix")
    if grid.border(stop) != stop:
        raise CueError(f"a prefix is whole chunks of {grid.chunk} latents, not {latents.shape[2]}")
    check_drive(transformer, drive)
    state.knot = None  # of a reference, as which the take would begin
    while state.index < stop:
        n, at = grid.length(state.index), state.index - state.prefix
        part = None if drive is None else drive[:, at : at + n]
        state.append(latents[:, :, at : at + n], part, config.window)
        commit(transformer, state)
    state.prefix = stop


def check_drive(transformer: Transformer, drive: Tensor | None) -> None:
    """Raise CueError if a model that is driven is given no drive, or another model is given one."""
    if (drive is None) is not (transformer.driving_attention is None):
        raise CueError("a model that is driven needs a drive for every chunk, and no other can have one")


def encode_reference(config: RolloutConfig, codec: Codec, state: TakeState, image: Reference) -> Tensor:
    """Return the latent [batch, C, 1, h, w] of an image held for a latent's frames; CueError if it does not fit."""
    if config.reference is None:
        raise CueError("this model stays true to no image; pocket-avatar does")
    if (image.width, image.height) != state.size:
        raise CueError(
            f"the image is {image.width}x{image.height}, the take {state.size[0]}x{state.size[1]}: scale the image"
        )
    pixels = torch.frombuffer(bytearray(image.pixels), dtype=torch.uint8).to(state.cache.device)
    images = pixels.view(-1, 1, image.height, image.width, 3)
    if len(images) not in (1, len(state.seeds)):
        raise CueError(f"{len(images)} images for {len(state.seeds)} takes: give one, or one for each")
    latent = torch.cat([codec.encode_image(i) for i in images]).to(state.cache.device)
    return latent.expand(len(state.seeds), -1, -1, -1, -1)


def set_reference(config: RolloutConfig, transformer: Transformer, state: TakeState, latent: Tensor) -> None:
    """Have a take stay true to an image from here on, given as its latent [batch, C, 1, h, w].

    The image's keys and values are made at t = 0, seeing nothing else. A knot made towards another image goes. A take
    begins as the image: its first chunk is given it, as other chunks are given a knot.
    """
    write_cache(transformer, state, latent, state.cache.begin_reference())
    state.knot = None if state.index else latent.repeat(1, 1, max(1, config.knot), 1, 1)
