"""Give a take latents that it does not draw: an image or a film that it begins with, an image that it stays true to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.codecs.codec import Codec
from models.cue import CueError, Reference, Start, StartBy
from models.recache import commit, write_cache
from models.rollout_config import RolloutConfig
from models.state import TakeState
from models.time_grid import FRAMES_PER_LATENT, TimeGrid
from models.transformer import Transformer


def prefill(
    config: RolloutConfig, transformer: Transformer, state: TakeState, latents: Tensor, drive: Tensor | None = None
) -> None:
    """Begin a take with clean latents [batch, C, F, h, w], committed chunk by chunk under the prompt that holds.

    `drive` [batch, F, T, features] is what moved them. CueError if they are not whole chunks, if there is no prompt, or
    if something has been drawn already.
    """
    grid, stop = config.grid, state.index + latents.shape[2]
    if config.step_keys is not None:
        raise CueError("this model has no clean pass, which a prefix needs")
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


def begin_with(config: RolloutConfig, codec: Codec, state: TakeState, start: Start) -> None:
    """Have a take, or the scene that begins with the next chunk, begin with an image or go on from a film.

    A pinned image is the first latent of the next chunk. Otherwise the pictures become whole chunks that are given
    instead of drawn: of a film as many as its end fills, up to what a chunk can see; an image or a film that is shorter
    than a chunk stands still for one. CueError if the pictures are not of the take's size, or if the model cannot.
    """
    if config.reference is not None:
        raise CueError("this model stays true to an image: give it as its reference, not as a start")
    if (start.width, start.height) != state.size:
        raise CueError(
            f"the pictures are {start.width}x{start.height}, the take {state.size[0]}x{state.size[1]}: scale them"
        )
    pixels = torch.frombuffer(bytearray(start.pixels), dtype=torch.uint8)
    frames = pixels.view(-1, start.height, start.width, 3)
    by = StartBy.PREFIX if start.frames > 1 or start.kept else start.by or config.start_by
    state.pinned = state.given = None  # of another start that lands on the same chunk
    n = 1
    if start.kept:
        _give(state, _newest_of(config, state, start, codec.stride))
        return
    if by is StartBy.PREFIX:
        most = config.window - config.chunk
        n = _whole_chunks(config.grid, state.index, latents_of(start.frames), most)
        wanted = FRAMES_PER_LATENT * (n - 1) + 1
        frames = torch.cat([frames[:1].expand(max(0, wanted - len(frames)), -1, -1, -1), frames[-wanted:]])
    stream = codec.encode_stream()
    parts = [frames[:1], *frames[1:].split(FRAMES_PER_LATENT)] if n > 1 else [frames]
    latents = torch.cat([stream.encode(part) for part in parts], 2).to(state.cache.device)
    latents = latents.expand(len(state.seeds), -1, -1, -1, -1)
    if by is StartBy.PIN:
        state.pinned = latents
        return
    _give(state, latents)


def _newest_of(config: RolloutConfig, state: TakeState, start: Start, stride: int) -> Tensor:
    """Return the newest of a film's own latents, as many whole chunks as a chunk can see; CueError if there is none."""
    cells = (start.height // stride, start.width // stride)
    kept = torch.frombuffer(bytearray(start.latents), dtype=torch.float32).view(1, -1, start.kept, *cells)
    grid = config.grid
    n = _whole_chunks(grid, state.index, start.kept, config.window - config.chunk)
    if n > start.kept:
        raise CueError(f"the film has {start.kept} latents, and a chunk has {n}: go on from a longer one")
    return kept[:, :, start.kept - n :].to(state.cache.device).expand(len(state.seeds), -1, -1, -1, -1)


def _give(state: TakeState, latents: Tensor) -> None:
    """Have clean latents [batch, C, n, h, w], whole chunks, come next instead of drawn ones."""
    n = latents.shape[2]
    state.given, state.given_to = latents, state.index + n
    if state.index == 0:
        state.prefix = n


def kept_by_codec(codec: Codec, start: Start) -> float:
    """Return how like itself the first picture of a start is behind the codec: peak signal-to-noise ratio in dB."""
    pixels = torch.frombuffer(bytearray(start.pixels), dtype=torch.uint8)
    image = pixels[: 3 * start.width * start.height].view(1, start.height, start.width, 3)
    shown = codec.decode_stream().decode(codec.encode_image(image))
    error = float((shown.float() - image.float()).square().mean())
    return 10 * math.log10(255**2 / max(error, 1e-3))


def latents_of(frames: int) -> int:
    """Return how many latents a stream of so many frames fills."""
    return 1 + (frames - 1) // FRAMES_PER_LATENT


def _whole_chunks(grid: TimeGrid, index: int, available: int, most: int) -> int:
    """Return the latents of as many chunks from `index` on as there are latents for, at least those of one chunk."""
    n = grid.length(index)
    while (longer := n + grid.length(index + n)) <= min(available, most):
        n = longer
    return n


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
