"""Follow a film or a camera: encode its frames as a stream, and start the denoising of a chunk part of the way.

How far is the strength, which a controller lowers where the source moves much (StreamDiffusionV2, 2511.07399). Outside
a region the source itself stays, pinned while the region is denoised.

The controller is that system's, number for number, for every model. The rest of it is for its own weights: it has no
clean pass (`models.step_cache`), and the network is told a noise level that is 0.1 below the one that its latents have,
in the first step alone (`RolloutConfig.source_shift`). Other models commit a chunk by a clean pass as always, and are
told the level that there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from models.codecs.codec import Codec
from models.codecs.stream import StreamSnapshot
from models.cue import CueError, Follow, Region
from models.rollout_config import RolloutConfig
from models.sampler import Schedule, nearest_sigma
from models.time_grid import FRAMES_PER_LATENT, frames_before

FULL_MOTION = 0.2  # root mean square of a frame's change, in values of -1 … 1, from which on motion counts as full
MOTION_WEIGHT = 0.1  # by how much full motion lowers the strength
INERTIA = 0.1  # weight of the strength before
BELOW = 100  # of 1000, by which StreamDiffusionV2 tells its network less than the strength


@dataclass(frozen=True)
class Encoded:
    """Hold what a chunk was given of its source, so that a take that followed a camera can be drawn again."""

    latents: Tensor  # [1, C, chunk, h, w] float16
    motion: float  # 0 … 1


class Footage(Protocol):
    """Give the frames of sources, by name: of a film, or of a camera as they come."""

    def frames(self, source: str, first: int, count: int) -> Tensor | Encoded:
        """Return RGB frames [count, H, W, 3] uint8 of the take's size, from frame `first` of the source on.

        A recorded camera returns what these frames were encoded to.
        """
        ...


@dataclass(frozen=True)
class Reading:
    """Hold what was read of a source at once, and from which of its frames on."""

    frame: int
    given: Encoded


@dataclass(frozen=True)
class Following:
    """Hold how a take follows a source, and what its encoder and its controller carry from chunk to chunk."""

    source: str
    since: int  # latent at which the take began to follow it
    base: float  # strength that was asked for
    strength: float  # of the newest chunk, as the controller has it
    region: Region | None = None  # that is drawn; None: all of the picture
    memory: tuple[Tensor | str | None, ...] | None = None  # of the encoder; None before its first frame
    last: Tensor | None = None  # its newest frame, RGB [1, H, W, 3] uint8
    newest: Encoded | None = None  # what the newest chunk was given
    begun: int | None = None  # latent that was given its first frame; None before
    read: tuple[Reading, ...] = ()  # what was read of it for the newest chunk of the take

    def frame(self, latent: int) -> int:
        """Return the frame of the source that latent `latent` shows first, in a take that has read of it."""
        assert self.begun is not None, "nothing was read"
        return frames_before(latent) - frames_before(self.begun)


@dataclass(frozen=True)
class Given:
    """Hold what a chunk is drawn over: clean latents of the source, the strength, and where they stay as they are."""

    latents: Tensor  # [1, C, chunk, h, w]
    strength: float
    kept: Tensor | None  # bool [1, 1, 1, h, w]; None: nowhere
    begins: bool  # the source is followed from this chunk on


def followed(config: RolloutConfig, now: Following | None, cue: Follow, index: int) -> Following:
    """Return how a take that has `index` latents follows its source after a cue; CueError if there is none."""
    if cue.source is not None:
        strength = config.strength.usual if cue.strength is None else cue.strength
        return Following(cue.source, index, strength, strength, cue.region)
    if now is None:
        raise CueError("a strength or a region is for a take that follows a source: name one with source")
    strength = now.base if cue.strength is None else cue.strength
    # a strength that was asked for holds at once, and is then followed as slowly as before
    newest = now.strength if cue.strength is None else cue.strength
    return replace(now, base=strength, strength=newest, region=cue.region or now.region)


def motion(frames: Tensor, before: Tensor | None) -> float:
    """Return the motion, 0 … 1, of RGB frames [n, H, W, 3] uint8: their largest change from one to the next.

    `before` [1, H, W, 3] is the frame before the first one, if there is one.
    """
    # of a take that is taken up from a file the frame before lies on the take's device
    video = frames if before is None else torch.cat([before.to(frames.device), frames])
    if len(video) < 2:
        return 0.0
    return share_of_motion((video.float() * (2 / 255)).diff(dim=0).square().mean((1, 2, 3)).sqrt())


def share_of_motion(changes: Tensor) -> float:
    """Return the motion, 0 … 1, of frames that changed by these root mean squares [n], in values of -1 … 1."""
    return float((changes.max() / FULL_MOTION).clamp(max=1))


def controlled(base: float, before: float, moved: float) -> float:
    """Return a chunk's strength, given the one asked for, that of the chunk before, and the source's motion 0 … 1."""
    return (1 - INERTIA) * (base - MOTION_WEIGHT * moved) + INERTIA * before


def given(
    codec: Codec, following: Following, index: int, latents: int, footage: Footage, device: torch.device
) -> tuple[Following, Given]:
    """Encode the source for the `latents` latents from `index` on; return what is followed now, and what it gives.

    The source's latents are used in the precision of float16, in which they are recorded, and on `device`, as a record
    of a camera is read into the host's memory.
    """
    if following.begun is None:  # as in a snapshot of an earlier release, whatever was read
        following = replace(following, begun=index if following.newest is None else following.since)
    first = following.frame(index)
    frames = footage.frames(following.source, first, frames_before(index + latents) - frames_before(index))
    if isinstance(frames, Encoded):
        newest, now = replace(frames, latents=frames.latents.to(device)), following
    else:
        newest, now = _encoded(codec, following, frames)
    strength = following.base
    if following.newest is not None:
        strength = controlled(following.base, following.strength, newest.motion)
    now = replace(now, strength=strength, newest=newest, read=(*now.read, Reading(first, newest)))
    clean = newest.latents.float()
    return now, Given(clean, strength, _kept(following.region, clean), following.newest is None)


def _encoded(codec: Codec, following: Following, frames: Tensor) -> tuple[Encoded, Following]:
    """Encode the next frames of a stream; return them, and the source with what its encoder carries."""
    count, stream = len(frames), codec.encode_stream()
    stream.restore(StreamSnapshot(following.memory, 1))
    if following.memory is None and count % FRAMES_PER_LATENT == 0:
        stream.encode(frames[:1])  # in the middle of a take no latent is a single frame: its first one only primes
    # latent by latent, so that a stream that is taken up anew gives the same bits
    parts = [stream.encode(part) for part in frames.split(_lengths(count))]
    encoded = Encoded(torch.cat(parts, 2).half(), motion(frames, following.last))
    return encoded, replace(following, memory=stream.snapshot().memory, last=frames[-1:].clone())


def started(schedule: Schedule, strength: float) -> Schedule:
    """Return the steps of a chunk that starts from noise level `strength`, in the same proportions."""
    sigmas = schedule.sigmas
    return schedule if math.isclose(strength, 1) else Schedule(tuple(strength * s / sigmas[0] for s in sigmas))


def steps_over(config: RolloutConfig, schedule: Schedule, given: Given) -> tuple[Schedule, float]:
    """Return the steps of a chunk over a source, and the noise level to which the source is brought before them.

    Where only the first step follows the strength, its timestep is 100 of 1000 lower, and the first chunk over a source
    takes the steps as they are, as StreamDiffusionV2 does.
    """
    if config.source_shift is None:
        steps = started(schedule, given.strength)
        return steps, steps.sigmas[0]
    if given.begins:
        return schedule, given.strength
    first = max(1, int(1000 * given.strength) - BELOW)
    sigmas = (nearest_sigma(first, config.source_shift), *schedule.sigmas[1:])
    return Schedule(sigmas, (first, *schedule.timesteps[1:])), given.strength


def _lengths(frames: int) -> list[int]:
    """Return the frames of each latent: four, but one for a stream's first."""
    first = frames % FRAMES_PER_LATENT
    return [first] * bool(first) + [FRAMES_PER_LATENT] * (frames // FRAMES_PER_LATENT)


def _kept(region: Region | None, latents: Tensor) -> Tensor | None:
    """Return where the source stays, [1, 1, 1, h, w]; None if nowhere. CueError if the region is of another size."""
    if region is None:
        return None
    h, w = latents.shape[-2:]
    if (region.rows, region.columns) != (h, w):
        raise CueError(f"the region has {region.rows}x{region.columns} cells, the picture {h}x{w}")
    kept = torch.tensor([cell == "0" for cell in region.cells], device=latents.device)
    return kept.view(1, 1, 1, h, w)
